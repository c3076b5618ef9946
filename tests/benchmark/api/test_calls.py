"""`run` and `sweep` do what `bench run` and `bench sweep` do."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fedprompt.benchmark import ConfigError, Record, RunError, run, sweep
from fedprompt.benchmark.runs import worker
from fedprompt.data.errors import DataError
from fedprompt.methods.errors import MethodError
from fedprompt.results import RecordError, load, rounds

WORDS = ("--alpha", "0.3", "--clients", "6", "--rounds", "2", "--eval-every", "1", "--precision", "fp32")


class CallbackFaultError(Exception):
    """Raised by a callback of a test."""


def never(*_):
    raise AssertionError("a finished run was executed again")


def test_run_returns_the_record_of_the_command(small, data, bench):
    record = run("head", dataset=data, **small)
    expected = json.loads(bench.ok("run", "--method", "head", "--dataset", data, *WORDS, "--out", "r", "--json").out)
    assert record.run_id == expected["run_id"]
    for part in ("config", "metrics", "metrics_prior", "communication", "temperature", "images"):
        assert record.result[part] == expected[part]
    assert record.config["rounds"] == 2
    written = rounds("r").drop(columns="seconds")
    pd.testing.assert_frame_equal(record.rounds.drop(columns="seconds"), written[record.rounds.columns.drop("seconds")])
    assert len(record.clients) == 6
    assert record.scores.loc["seen", "mean"] == expected["metrics"]["seen"]["mean"]
    assert record.prior_scores.loc["held_out", "mean"] == expected["metrics_prior"]["held_out"]["mean"]
    assert f"seen clients {expected['metrics']['seen']['mean']:.1%}" in repr(record)


def test_without_a_directory_nothing_is_left_on_disk(small, data, tmp_path, monkeypatch):
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    record = run("head", dataset=data, **small, keep_model="server")
    assert record.directory is None
    assert [*temporary.iterdir(), *(path for path in tmp_path.iterdir() if path != temporary)] == []
    assert record.model.server["head.weight"].shape[0] == 4  # it is in memory


def test_a_stored_run_is_not_repeated(small, data, monkeypatch):
    first = run("head", dataset=data, out="r", **small)
    monkeypatch.setattr(worker, "execute", never)
    again = run("head", dataset=data, out="r", **small)
    assert again.result == first.result
    assert again.directory == Path("r") / first.run_id
    assert load("r")["run_id"].tolist() == [first.run_id]


def test_the_callback_receives_every_round_once_with_the_row_of_the_record(small, data):
    seen = []
    record = run("head", dataset=data, on_round=seen.append, **small)
    assert [(found.number, found.rounds, found.method, found.seed) for found in seen] == [
        (number, 2, "head", 0) for number in range(3)
    ]
    rows = [{name: found.metrics.get(name, float("nan")) for name in record.rounds} for found in seen]
    pd.testing.assert_frame_equal(pd.DataFrame(rows), record.rounds, check_dtype=False)


@pytest.mark.parametrize("error", [CallbackFaultError("mine"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_exception_of_the_callback_ends_the_run_and_the_same_call_resumes_it(error, small, data):
    def callback(found):
        if found.number == 1:
            raise error

    with pytest.raises(type(error)) as caught:
        run("head", dataset=data, out="r", on_round=callback, checkpoint_every=0, **small)
    assert caught.value is error
    assert list(Path("r").glob("*/result.json")) == []
    numbers = []
    record = run("head", dataset=data, out="r", on_round=lambda found: numbers.append(found.number), **small)
    assert numbers == [2]
    assert record.result["when"]["resumed"][0]["after_round"] == 1
    whole = run("head", dataset=data, **small)
    assert record.result["metrics"] == whole.result["metrics"]


def test_a_failed_run_raises_its_error_with_kind_and_log(small, data, plugin):
    file = plugin(body="def loss(self, vit, batch, state): raise ZeroDivisionError('the loss')")
    with pytest.raises(RunError, match=r"own on .*, seed 0 failed: .*the loss") as caught:
        run("own", dataset=data, plugin=file, **small)
    assert caught.value.kind == "exception"
    assert "Traceback" in caught.value.log


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"method": "fedvtp"}, MethodError, "did you mean 'fedvpt'"),
        ({"dataset": "digit"}, DataError, "did you mean 'digits'"),
        ({"lr": -1}, ConfigError, "--lr -1: input should be greater than 0"),
        ({"rounds": 0}, ConfigError, "--rounds 0: input should be greater than or equal to 1"),
        ({"round": 3}, ConfigError, "unknown option 'round' .did you mean 'rounds'"),
        ({"workers": 2}, ConfigError, "unknown option 'workers'"),
        ({"preset": "quik"}, ConfigError, "did you mean 'quick'"),
        ({"set": "fedvpt.tokens=5"}, ConfigError, "that method is not in this grid"),
        ({"keep_model": "both"}, ConfigError, "--keep-model both: must be one of server, all"),
        ({"checkpoint_every": -1}, ConfigError, "--checkpoint-every -1: must be a number from 0"),
        ({"from_run": "0" * 16}, ConfigError, "name the run with its directory, as DIR/RUN_ID"),
        ({"method": "head*,fedvpt"}, ConfigError, "executes one run, not"),
        ({"device": "tpu"}, ConfigError, "--device tpu: unknown"),
    ],
    ids=str,
)
def test_wrong_options_raise_the_errors_of_the_command(given, error, words, small, data):
    with pytest.raises(error, match=words):
        run(**{"method": "head", "dataset": data, **small, **given})


def test_the_number_of_threads_of_torch_is_restored(small, data):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run("head", dataset=data, **small)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_kept_model_is_evaluated_and_continued(small, data):
    first = run("fedper", dataset=data, out="r", keep_model="all", **small)
    kept = load("r").model(first.run_id)
    assert kept.server.keys() == first.model.server.keys()
    assert all(np.array_equal(value, first.model.server[name]) for name, value in kept.server.items())
    assert set(kept.clients) == set(first.clients.loc[first.clients["rounds_trained"] > 0, "client"])
    same = run(from_run=f"r/{first.run_id}", rounds=0, progress=False)
    assert same.result["metrics"] == first.result["metrics"]
    assert same.result["metrics_prior"] == first.result["metrics_prior"]
    assert same.result["from"] == {"run_id": first.run_id, "rounds": 2, "clients": "restored"}
    more = run(from_run=first.run_id, rounds=1, out="r", keep_model="server", progress=False)
    assert run(from_run=more.directory, rounds=0, progress=False).result["from"]["rounds"] == 3
    assert len({first.run_id, same.run_id, more.run_id}) == 3


def test_a_sweep_returns_a_row_per_run_of_its_grid_and_is_idempotent(small, data, monkeypatch):
    run("fedvpt", dataset=data, out="r", **small)  # not in the grid
    runs = sweep(["head", "fedncm"], datasets=data, seeds=2, out="r", workers=1, local=True, **small)
    expected = [("fedncm", 0), ("fedncm", 1), ("head", 0), ("head", 1)]
    assert list(runs[["method", "seed"]].itertuples(index=False, name=None)) == expected
    monkeypatch.setattr(worker, "execute", never)
    again = sweep("head,fedncm", datasets=data, seeds="0-1", out="r", workers=1, local=True, **small)
    pd.testing.assert_frame_equal(again, runs)
    assert sweep("head", datasets=data, seeds=[1], out="r", **small)["seed"].tolist() == [1]


def test_a_failed_run_of_a_sweep_is_a_row(small, data, plugin):
    file = plugin(body="def loss(self, vit, batch, state): raise ZeroDivisionError('the loss')")
    runs = sweep(["own", "head"], datasets=data, seeds=[0], plugin=[file], out="r", workers=1, **small)
    assert runs.set_index("method")["status"].to_dict() == {"head": "done", "own": "failed"}
    assert "the loss" in runs.set_index("method").loc["own", "error"]


def test_an_interrupted_sweep_keeps_what_has_finished_and_resumes(small, data):
    def interrupt(found):
        if found.seed == 1:
            raise KeyboardInterrupt

    grid = {"datasets": data, "seeds": 2, "out": "r", "workers": 1, **small}
    with pytest.raises(KeyboardInterrupt):
        sweep("head", on_round=interrupt, **grid)
    assert load("r")["seed"].tolist() == [0]
    seeds = set()
    assert len(sweep("head", on_round=lambda found: seeds.add(found.seed), **grid)) == 2
    assert seeds == {1}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"workers": 0}, "--workers 0: must be a number from 1"),
        ({"retries": -1}, "--retries -1"),
        ({"run_timeout": float("inf")}, "--run-timeout inf"),
        ({"cpus_per_run": 0}, "--cpus-per-run 0"),
        ({"gpus_per_run": -1}, "--gpus-per-run -1"),
        ({"gpus_per_run": 1}, "needs --device cuda"),
        ({"seeds": 0}, "--seeds is empty"),
        ({"alpha": "0.1 0.5"}, "use commas"),
        ({"worker": 2}, "unknown option 'worker' .did you mean 'workers'"),
        ({"from_run": "r/" + "0" * 16}, "unknown option 'from_run'"),
        ({"per_method": {}}, "unknown option 'per_method'"),
    ],
    ids=str,
)
def test_wrong_options_of_a_sweep_are_refused_before_anything_runs(given, words, small, data):
    with pytest.raises(ConfigError, match=words):
        sweep(**{"methods": "head", "datasets": data, "seeds": 1, "out": "r", **small, **given})
    assert not Path("r").exists()


def test_a_finished_run_without_its_model_is_named(small, data):
    record = run("head", dataset=data, out="r", keep_model="server", **small)
    assert run("head", dataset=data, out="r", keep_model="server", **small).model is not None
    with pytest.raises(ConfigError, match=f"--keep-model all: 1 of these runs in r .* such as {record.run_id}; delete"):
        sweep("head", datasets=data, seeds=1, out="r", keep_model="all", **small)
    (record.directory / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="--keep-model server"):
        run("head", dataset=data, out="r", keep_model="server", **small)
    with pytest.raises(RecordError, match="cannot be read: no such file"):
        run("head", dataset=data, out="r", **small)


SCRIPT = """
import sys
from fedprompt.benchmark import sweep

numbers = {}
def callback(found):
    numbers.setdefault(found.method, []).append(found.number)

runs = sweep(["head", "fedncm"], datasets=sys.argv[1], alpha=0.3, clients=6, seeds=1, rounds=3, precision="fp32",
             out="r", workers=2, keep_model="server", on_round=callback, **eval(sys.argv[2]))
print(runs["status"].tolist(), sorted(numbers.items()), [sorted(runs.model(i).server) for i in runs["run_id"]])
try:
    sweep(["head"], datasets=sys.argv[1], alpha=0.3, clients=6, seeds=[1, 2], rounds=300, precision="fp32",
          out="r", workers=2, on_round=lambda found: 1 / (1 - (found.number > 2)), **eval(sys.argv[2]))
except ZeroDivisionError as error:
    print("stopped by", error)
"""
"""It has no `if __name__ == "__main__"`: workers must not execute it again."""


@pytest.mark.slow
@pytest.mark.parametrize("pool", [{"local": True}, pytest.param({}, marks=pytest.mark.serial)], ids=["local", "ray"])
def test_callbacks_run_in_the_driver_whichever_pool_executes_the_runs(pool, small, data, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", data, repr(pool)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    shown = "['done', 'done'] [('fedncm', [0, 1, 2, 3]), ('head', [0, 1, 2, 3])]"
    first, last = done.stdout.splitlines()
    assert first.startswith(shown)
    assert "'head.weight'" in first
    assert last == "stopped by division by zero"
    assert "failed" not in done.stderr
    assert {Path(path).parent.name for path in tmp_path.glob("r/*/result.json")} == set(load(tmp_path / "r")["run_id"])
    assert len(load(tmp_path / "r")) == 2  # none of the stopped runs counts as failed


def test_a_record_is_what_users_import():
    assert Record.__module__ == "fedprompt.benchmark.api.record"


@pytest.mark.slow
def test_a_notebook_shows_one_line_of_progress_that_is_replaced(small, data, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    given = {**small, "progress": True, "rounds": 30, "workers": 1, "datasets": data, "out": "r"}
    source = f"from fedprompt.benchmark import sweep\nruns = sweep(['head', 'fedncm'], seeds=1, **{given!r})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (shown,) = notebook.cells[0].outputs
    assert shown.output_type == "display_data"
    assert shown.data["text/plain"].startswith("2/2 runs")
