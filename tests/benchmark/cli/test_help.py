"""Groups of options, examples and shell completion."""

import os
import subprocess
import sys

import pytest
import typer

from fedprompt.benchmark.cli import COMMANDS, build
from fedprompt.benchmark.cli.help import COMMON, EXAMPLES, GROUPS
from tests.benchmark.conftest import refused
from tests.docs.test_commands import fault


def sections(text):
    """The flags of each section of a help text."""
    found, title = {}, ""
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            title = line[:-1]
        elif line.startswith("  -"):
            found.setdefault(title, []).append(line.split()[0].rstrip(","))
    return found


def test_the_ten_most_used_options_come_first_and_every_option_has_a_group(bench):
    found = sections(bench.ok("sweep", "--help").out)
    assert list(found) == ["Common options", *GROUPS, "Options"]
    assert found["Common options"] == [f"--{name}" for name in COMMON]
    assert len(COMMON) == 10
    assert found["Options"] == ["--help"]


@pytest.mark.parametrize("command", ["run", "tune", "plan", "retry"])
def test_options_have_the_same_group_in_every_command(command, bench):
    whole = {flag: title for title, flags in sections(bench("sweep", "--help").out).items() for flag in flags}
    for title, flags in sections(bench.ok(command, "--help").out).items():
        assert command == "retry" or {whole.get(flag, title) for flag in flags} == {title}


def test_values_to_choose_from_are_shown(bench):
    text = bench("sweep", "--help").out
    assert "--optimizer [sgd|adam|adamw]" in text
    assert "--executor [auto|sequential|threaded|fused]" in text


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples_are_valid_commands_of_their_page(command, bench):
    import shlex

    assert command in COMMANDS
    text = bench.ok(command, "--help").out
    for example in EXAMPLES[command]:
        assert f"  {example}\n" in text
        words = shlex.split(example)[1:]
        assert words[0] == command
        assert fault(words) == ""


def test_a_command_offers_only_the_options_that_it_uses(bench):
    show = bench("data", "show", "--help").out
    assert "--clients-per-domain" in show
    for unused in ("--lr", "--rounds", "--methods", "--executor", "--optimizer"):
        assert f"{unused} " not in show
    assert "--executor" not in bench("prune", "--help").out


def test_prune_refuses_the_options_of_a_grid_that_it_would_not_use(bench, directory):
    refused(bench("prune", directory, "--lr", "0.1"), "--lr defines a grid", "--outside")


@pytest.mark.parametrize(("typed", "completed"), [("bench swe", "sweep"), ("bench sweep --max-fail", "--max-failures")])
def test_the_shell_completes_commands_and_options(typed, completed):
    words = {"_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    answer = subprocess.run(
        [sys.executable, "-c", "from fedprompt.benchmark.cli import main; main()"],
        env={**os.environ, **words}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert answer.stdout.split() == [completed]


def test_completion_is_offered(bench):
    assert "--install-completion" in bench("--help").out
    assert typer.main.get_command(build(None)).name == "bench"
