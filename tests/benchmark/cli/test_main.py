"""What holds for every command: help, exit codes, and errors in plain lines."""

import subprocess
import sys
from pathlib import Path

import pytest

from fedprompt.benchmark import cli
from fedprompt.benchmark.cli import COMMANDS, build
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import DataError
from fedprompt.methods.errors import MethodError
from fedprompt.results.errors import RecordError
from tests.benchmark.conftest import Bench, refused

ROOT = Path(__file__).parents[3]
LOADED = """
import sys
from fedprompt.benchmark.cli import main
try:
    main({words!r})
except SystemExit as done:
    assert not done.code, done.code
print(*sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)
"""


def python(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, **options
    )  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    "words", [["--help"], ["list", "methods"], ["list", "datasets", "--json"], ["sweep", "--help"]]
)
def test_help_and_lists_load_nothing_heavy(words: list[str]) -> None:
    heavy = {"torch", "torchvision", "ray", "timm", "pandas", "matplotlib", "sklearn", "scipy"}
    said = python("-c", LOADED.format(words=words, heavy=heavy))
    assert said.returncode == 0, said.stderr
    assert said.stderr.strip() == ""
    assert said.stdout


def test_the_package_runs_as_a_module() -> None:
    said = python("-m", "fedprompt.benchmark", "list", "presets")
    assert said.returncode == 0
    assert "quick" in said.stdout
    said = python("-m", "fedprompt.benchmark", "list", "nonsense")
    assert said.returncode == 2
    assert said.stderr.startswith("error: ")


def test_a_reader_that_has_gone_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "fedprompt.benchmark", "list", "methods", "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
        process.wait(timeout=300)
    assert error == ""
    assert process.returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_of_its_own(command: str, bench: Bench) -> None:
    said = bench(command, "--help")
    assert said.code == 0
    assert said.err == ""
    assert f"bench {command}" in said.out.replace("pytest", "bench").replace("__main__.py", "bench")


def test_the_overview_names_every_command(bench: Bench) -> None:
    said = bench("--help")
    assert said.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in said.out


def test_without_a_command_the_help_is_shown_as_help(bench: Bench) -> None:
    assert not bench().err.startswith("error: Usage")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["lst"], "lst"),
        (["--nonsense"], "--nonsense"),
        (["sweep", "--nonsense", "3"], "--nonsense"),
        (["sweep", "--rounds", "many"], "--rounds"),
        (["sweep", "--rounds"], "--rounds"),
        (["sweep", "--workers", "0"], "--workers"),
        (["list"], "WHAT"),
        (["table"], "DIR"),
        (["status", "runs", "and", "more"], "and"),
    ],
)
def test_a_slip_of_the_keyboard_is_one_line(words: list[str], named: str, bench: Bench, tmp_path: Path) -> None:
    refused(bench(*words), named)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ConfigError, DataError, MethodError, RecordError])
def test_the_errors_of_every_package_are_plain_lines(
    error: type[Exception], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error("what is wrong, and what would be right.")

    monkeypatch.setattr(cli, "_invoke", lambda words: fail())
    said = bench("plan")
    assert (said.code, said.err) == (2, "error: what is wrong, and what would be right.\n")


def test_a_programming_error_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_invoke", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["plan"])


def test_ctrl_c_has_the_exit_code_of_an_interruption(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_invoke", interrupt)
    said = bench("sweep")
    assert said.code == 130
    assert len(said.err.splitlines()) == 1


def test_only_the_chosen_command_is_imported() -> None:
    absent = [info.callback for info in build("table").registered_commands if info.name != "table"]
    assert all(callback is cli._absent for callback in absent)
    assert len(absent) == len(COMMANDS) - 1
