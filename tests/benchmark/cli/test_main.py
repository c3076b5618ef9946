"""Behaviour of every command: help, version, exit codes, and errors in one or two lines."""

import errno
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import pytest

from fedprompt.benchmark import cli
from fedprompt.benchmark.cli import COMMANDS, build
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import DataError
from fedprompt.methods.errors import MethodError
from fedprompt.results.errors import RecordError
from tests.benchmark.conftest import refused

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

REFUSED = """
import sys
from fedprompt.benchmark.cli import main
codes = []
for words in {lines!r}:
    try:
        main(words)
    except SystemExit as done:
        codes.append(done.code)
print(*codes)
print(*sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)
"""


def python(*words, **options):
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, **options
    )


def test_a_report_needs_neither_a_plotting_library_nor_torch(tmp_path):
    words = ["report", "results/published/cifar10-vit-tiny", "--out", str(tmp_path / "report.html")]
    answer = python("-c", LOADED.format(words=words, heavy={"torch", "ray", "matplotlib"}))
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.strip() == ""
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["list", "methods"], ["list", "datasets", "--json"], ["sweep", "--help"]]
)
def test_help_and_lists_import_no_heavy_package(words):
    heavy = {"torch", "torchvision", "ray", "timm", "pandas", "matplotlib", "sklearn", "scipy"}
    answer = python("-c", LOADED.format(words=words, heavy=heavy))
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.strip() == ""
    assert answer.stdout


@pytest.mark.parametrize("command", ["run", "sweep", "plan", "tune"])
def test_a_wrong_method_or_data_set_is_refused_before_a_heavy_package_is_imported(command):
    words = [[command, "--methods", "FedVPT"], [command, "--datasets", "digits,nope"], [command, "--held-out", "1.0"]]
    heavy = {"torch", "torchvision", "ray", "timm", "sklearn", "scipy"}
    answer = python("-c", REFUSED.format(lines=words, heavy=heavy))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "2 2 2\n"
    errors = answer.stderr.splitlines()
    assert ["'fedvpt'" in errors[0], "'nope'" in errors[1], "1.0" in errors[2]] == [True] * 3
    assert errors[3:] == [""]


def test_version_is_that_of_the_distribution(bench):
    answer = bench("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"fedprompt-bench {version('fedprompt-bench')}\n", "")


def test_package_runs_as_a_module():
    answer = python("-m", "fedprompt.benchmark", "list", "presets")
    assert answer.returncode == 0
    assert "quick" in answer.stdout
    answer = python("-m", "fedprompt.benchmark", "list", "nonsense")
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ")


def test_closed_pipe_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-m", "fedprompt.benchmark", "list", "methods", "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.close()
        error = process.stderr.read()
        process.wait(timeout=300)
    assert error == ""
    assert process.returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, bench):
    answer = bench.ok(command, "--help")
    assert answer.err == ""
    assert f"bench {command}" in answer.out.replace("pytest", "bench").replace("__main__.py", "bench")


def test_overview_lists_every_command(bench):
    answer = bench.ok("--help")
    for command in COMMANDS:
        assert f"\n  {command} " in answer.out


def test_help_is_shown_without_a_command(bench):
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
def test_usage_error_is_one_line(words, named, bench, tmp_path):
    refused(bench(*words), named)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["plan", "--alpha", "0.05", "0.5"], "several values of --alpha are separated by commas: --alpha 0.05,0.5"),
        (["sweep", "--seeds", "0", "1", "2", "--rounds", "3"], "--seeds 0,1,2"),
        (["tune", "--methods", "head", "fedvpt"], "--methods head,fedvpt"),
        (["run", "--method=head", "fedvpt"], "--method head,fedvpt"),
        (["table", "runs", "--metric", "seen.mean", "seconds"], "--metric seen.mean,seconds"),
        (["run", "--set", "fedvpt.tokens=5", "head.x=1"], "repeat --set: --set fedvpt.tokens=5 --set head.x=1"),
        (["tune", "--grid", "lr=1,2", "epochs=1,2"], "repeat --grid: --grid lr=1,2 --grid epochs=1,2"),
    ],
)
def test_values_separated_by_spaces_are_refused_with_the_right_spelling(words, remedy, bench):
    answer = bench(*words)
    refused(answer, remedy)
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["plan", "--rounds", "3", "4"], ["table", "--metric", "a", "b", "runs"], ["plan", "x"]]
)
def test_other_surplus_words_get_no_advice_about_commas(words, bench):
    answer = bench(*words)
    refused(answer, "unexpected extra argument")
    assert "commas" not in answer.err


@pytest.mark.parametrize("error", [ConfigError, DataError, MethodError, RecordError])
def test_errors_of_every_package_are_plain_lines(error, bench, monkeypatch):
    monkeypatch.setattr(cli, "_invoke", Mock(side_effect=error("what is wrong, and what would be right.")))
    answer = bench("plan")
    assert (answer.code, answer.err) == (2, "error: what is wrong, and what would be right.\n")


def test_programming_error_is_not_caught(monkeypatch):
    monkeypatch.setattr(cli, "_invoke", Mock(side_effect=ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        cli.main(["plan"])


def test_ctrl_c_exits_with_130(bench, monkeypatch):
    monkeypatch.setattr(cli, "_invoke", Mock(side_effect=KeyboardInterrupt))
    answer = bench("sweep")
    assert answer.code == 130
    assert answer.err == "interrupted. Finished runs are saved; run the same command again to resume.\n"


def test_only_the_requested_command_is_imported():
    absent = [info.callback for info in build("table").registered_commands if info.name != "table"]
    assert all(callback is cli._not_imported for callback in absent)
    assert len(absent) == len(COMMANDS) - 1


@pytest.mark.parametrize("value", ["nan", "inf", "1e400"])
@pytest.mark.parametrize(
    "words",
    [
        ["sweep", "--run-timeout"],
        ["sweep", "--checkpoint-every"],
        ["run", "--checkpoint-every"],
        ["plan", "--detect"],
        ["compare", "runs", "head", "fedvpt", "--margin"],
        ["sweep", "--gpus-per-run"],
    ],
)
def test_a_number_that_is_not_finite_is_refused(words, value, bench):
    answer = bench(*words, value)
    refused(answer, words[-1])
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        (["tune", "--draws", 10**12], "less than or equal to 10000"),
        (["plan", "--to-plateau", 10**12], "less than or equal to 1000000"),
    ],
)
def test_a_number_beyond_its_limit_is_refused(words, limit, bench):
    refused(bench(*words), words[-2], limit)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_are_one_line(error, bench, monkeypatch):
    monkeypatch.setattr("fedprompt.benchmark.cli._invoke", Mock(side_effect=OSError(error, os.strerror(error))))
    refused(bench("list", "methods"), os.strerror(error).lower(), "ulimit -n")
