"""`sys.exit` and other exceptions that end a program, raised in a plug-in: a failed row, or a refusal by name."""

import json

import pytest

from fedprompt.benchmark.runs.store import Store
from tests.benchmark.conftest import SMALL, refused

EARLY = ["import sys; sys.exit(0)", "import sys; sys.exit('done')", "raise GeneratorExit", "raise BaseException('odd')"]
SWEEP = ("sweep", "--methods", "head,own", "--seed", 0, *SMALL, "--workers", 1, "--out", "runs")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("statement", EARLY)
@pytest.mark.parametrize("hook", ["loss", "logits"])  # training, and already before it
def test_a_method_that_ends_the_program_is_a_failed_row(statement, hook, bench, plugin, tmp_path):
    file = plugin(body=f"def {hook}(self, *_): {statement}")
    answer = bench(*SWEEP, "--plugin", file)
    assert answer.code == 1
    assert "failed: own" in answer.err
    statuses = {entry.result["method"]: entry.result for entry in Store(tmp_path / "runs").entries()}
    assert (statuses["head"]["status"], statuses["own"]["status"]) == ("done", "failed")
    assert statuses["own"]["error"].partition(":")[0] in ("SystemExit", "GeneratorExit", "BaseException")
    log = (tmp_path / "runs" / statuses["own"]["run_id"] / "log.txt").read_text()
    assert "own_plugin.py" in log


@pytest.mark.usefixtures("no_figures")
def test_an_error_in_the_setup_of_one_method_does_not_stop_the_others(bench, plugin, tmp_path):
    answer = bench(*SWEEP, "--plugin", plugin(body="def shared(self, *_): 1 / 0"))
    assert answer.code == 1
    assert sorted(entry.status for entry in Store(tmp_path / "runs").entries()) == ["done", "failed"]


@pytest.mark.parametrize("statement", EARLY)
def test_a_plug_in_that_ends_the_program_at_import_is_refused_by_name(statement, bench, plugin):
    text = plugin().read_text() + f"\n{statement}\n"
    refused(bench(*SWEEP, "--plugin", plugin(text=text)), "own_plugin.py cannot be imported: ")
    answer = bench("list", "methods", "own")
    refused(answer, "no methods match 'own'")  # its registration is taken back


def test_a_method_that_ends_the_program_when_it_is_created_is_named(bench, plugin):
    answer = bench(*SWEEP, "--plugin", plugin(body="def __post_init__(self): exit(0)"))
    assert answer.code == 1
    (line,) = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert "own_plugin.py, line " in line
    assert "SystemExit: 0" in line


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("message", ["bad \\udcff \\x1b]0;x\\x07", "x' * 50_000_000 + '"])
def test_an_error_that_cannot_be_encoded_or_is_huge_is_a_short_failed_row(message, bench, plugin, tmp_path):
    answer = bench(*SWEEP, "--plugin", plugin(body=f"def loss(self, *_): raise RuntimeError('{message}')"))
    assert answer.code == 1
    assert "\x1b" not in answer.err
    assert len(answer.err) < 10_000
    (failed,) = [entry for entry in Store(tmp_path / "runs").entries() if entry.status == "failed"]
    folder = tmp_path / "runs" / failed.run_id
    assert sum(path.stat().st_size for path in folder.iterdir()) < 500_000
    assert failed.result["error"].startswith("RuntimeError: ")
    for command in (("status", "runs"), ("table", "runs"), ("export", "runs", "out.csv")):
        assert bench(*command).code == 0


@pytest.mark.usefixtures("no_figures")
def test_what_no_file_can_hold_is_a_failed_row(bench, plugin, tmp_path):
    answer = bench(*SWEEP, "--plugin", plugin(body="deviations = [object()]"))
    assert answer.code == 1
    (failed,) = [entry for entry in Store(tmp_path / "runs").entries() if entry.status == "failed"]
    assert failed.result["error"] == "TypeError: Object of type object is not JSON serializable"
    assert json.loads((tmp_path / "runs" / failed.run_id / "result.json").read_text())["method"] == "own"
