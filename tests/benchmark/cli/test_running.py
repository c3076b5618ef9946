"""`bench run` and `bench sweep`: run, resume, extend, interrupt, fail, and every usage error."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch

from fedprompt.benchmark.backbone import embedded
from fedprompt.benchmark.runs import worker
from tests.benchmark.conftest import SMALL, config, configs, refused

SWEEP = ("sweep", *SMALL, "--workers", 1, "--out", "runs")
RAISES = "def logits(self, vit, batch, state): raise ArithmeticError('on purpose')"


def records(directory):
    return {path.parent.name: json.loads(path.read_text()) for path in directory.glob("*/result.json")}


def test_a_summary_says_where_no_client_has_enough_test_samples_for_a_worst_one(bench):
    answer = bench.ok("run", "--method", "majority", *SMALL, "--min-test", 1000, "--out", "runs")
    assert "worst n/a" in answer.out.splitlines()[1]


def test_run_prints_a_summary_and_saves_the_record(bench, tmp_path, executed):
    words = ("run", "--method", "local", *SMALL, "--out", "runs")
    answer = bench.ok(*words)
    run = config(methods=("local",))
    (result,) = records(tmp_path / "runs").values()
    assert result["run_id"] == run.run_id
    mean = result["metrics"]["seen"]["mean"]
    assert f"runs/{run.run_id}" in answer.out
    assert f"seen: mean {100 * mean:.1f}%" in answer.out
    assert "held-out: n/a" in answer.out
    again = bench(*words)
    assert "already finished" in again.err
    assert again.out == answer.out
    assert executed == [run.run_id]


def test_run_prints_its_record_as_json(bench, tmp_path):
    answer = bench("run", "--method", "head", *SMALL, "--seed", 3, "--json")
    (result,) = records(tmp_path / "runs" / "default").values()
    assert json.loads(answer.out) == result
    assert result["seed"] == 3


def test_failed_run_prints_its_error_and_exits_with_1(bench, plugin, tmp_path):
    answer = bench("run", "--method", "own", "--plugin", plugin(body=RAISES), *SMALL)
    assert answer.code == 1
    assert "ArithmeticError: on purpose" in answer.err
    assert "Traceback" not in answer.err
    (result,) = records(tmp_path / "runs" / "default").values()
    assert result["status"] == "failed"
    assert bench("run", "--method", "own", "--plugin", tmp_path / "own_plugin.py", *SMALL, "--json").code == 1


def test_diverging_training_is_a_failed_run(bench):
    answer = bench("run", "--method", "fedvpt", *SMALL, "--lr", "1e30", "--rounds", 2)
    assert answer.code == 1
    assert "is not finite; lower --lr" in answer.err


def test_run_refuses_several_runs(bench, tmp_path):
    refused(bench("run", *SMALL), "bench sweep")
    refused(bench("run", "--method", "head", "--seeds", "0,1"), "one run, not 2")
    assert not list(tmp_path.iterdir())


def test_sweep_saves_table_and_figures_and_repeating_it_runs_nothing(bench, tmp_path, executed):
    words = (*SWEEP, "--methods", "head,fedvpt", "--seeds", "0,1")
    answer = bench.ok(*words)
    assert len(executed) == 4
    made = {path.name for path in (tmp_path / "runs").iterdir()}
    assert made == {*executed, "figures", "table.txt", "table.csv", "table.md"}
    assert (tmp_path / "runs" / "table.txt").read_text().rstrip() == answer.out.rstrip()
    pictures = {path.name for path in (tmp_path / "runs" / "figures").iterdir()}
    for name in ("accuracy_by_alpha", "accuracy_over_rounds", "partition", "per_client"):
        assert {f"{name}.png", f"{name}.csv"} <= pictures
    files = [path for path in (tmp_path / "runs").glob("*/*") if path.parent.name in executed]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = bench.ok(*words)
    assert "4 runs, 4 already done" in again.err
    assert again.out == answer.out
    assert len(executed) == 4
    assert {path: path.stat().st_mtime_ns for path in files} == before


@pytest.mark.usefixtures("no_figures")
def test_sweep_runs_seed_by_seed_and_saves_a_table_of_each_complete_seed(bench, tmp_path, monkeypatch):
    execute, found = worker.execute, list[tuple[int, str, str]]()

    def watched(run, *rest):
        table = tmp_path / "runs" / "table.md"
        found.append((run.seed, run.method, table.read_text() if table.exists() else ""))
        return execute(run, *rest)

    monkeypatch.setattr(worker, "execute", watched)
    answer = bench.ok(*SWEEP, "--methods", "head,fedncm", "--seeds", "2,0,1")
    assert [run[:2] for run in found] == [(seed, name) for seed in (2, 0, 1) for name in ("head", "fedncm")]
    for table, label in zip([table for *_, table in found], ["", "", "1", "1", "2", "2"], strict=True):
        assert table.count(" seeds; accuracies") == bool(label)
        assert f"{label} of 3 seeds; accuracies in percent" in table or not label
    assert "of 3 seeds" not in answer.out
    assert answer.out.count("accuracies in percent") == 1
    assert "3 seeds; accuracies" in (tmp_path / "runs" / "table.md").read_text()
    assert answer.err.index("1 of 3 seeds:") < answer.err.index("2 of 3 seeds:")
    assert "3 of 3 seeds" not in answer.err


@pytest.mark.usefixtures("no_figures")
def test_extended_sweep_runs_only_new_runs(bench, executed):
    bench(*SWEEP, "--method", "head", "--seeds", "0")
    answer = bench(*SWEEP, "--methods", "head,fedncm", "--seeds", "0,1", "--alpha", "0.5,5")
    assert "8 runs, 1 already done" in answer.err
    assert len(executed) == len(set(executed)) == 8
    assert sorted(executed) == sorted(
        run.run_id for run in configs(methods=("head", "fedncm"), seeds=(0, 1), alpha=(0.5, 5.0))
    )


@pytest.mark.usefixtures("no_figures")
def test_failing_method_does_not_stop_others_and_is_retried(bench, plugin, tmp_path, executed):
    words = (*SWEEP, "--methods", "own,head", "--seeds", "0,1", "--plugin", plugin(body=RAISES))
    answer = bench(*words)
    assert answer.code == 1
    assert "2 runs failed; `bench status runs` shows why" in answer.err
    assert answer.err.count("ArithmeticError: on purpose") == 2
    assert "Traceback" not in answer.err
    assert "failed" in answer.out
    assert sorted((r["method"], r["status"]) for r in records(tmp_path / "runs").values()) == [
        ("head", "done"), ("head", "done"), ("own", "failed"), ("own", "failed"),
    ]  # fmt: skip
    assert "ArithmeticError: on purpose" in bench("status", "runs").out
    assert "failed" in bench("table", "runs").out
    again = bench(*words)
    assert again.code == 1
    assert "4 runs, 2 already done" in again.err
    assert len(executed) == 6


@pytest.mark.usefixtures("no_figures")
def test_table_is_printed_if_every_run_failed(bench, plugin):
    answer = bench(*SWEEP, "--method", "own", "--seed", 0, "--plugin", plugin(body=RAISES))
    assert answer.code == 1
    assert "failed" in answer.out


@pytest.mark.usefixtures("no_figures")
def test_same_seed_gives_the_same_files_except_for_times(bench, tmp_path, small_data):
    grid = ("--methods", "pep-fedpt,local", "--datasets", small_data, "--clients", 5, "--participation", 0.5)
    for out in ("one", "two"):
        bench.ok(*SWEEP, *grid, "--seed", 0, "--out", out)
    names = sorted(records(tmp_path / "one"))
    assert names == sorted(records(tmp_path / "two"))
    for name in names:
        one, two = (tmp_path / out / name for out in ("one", "two"))
        for file in ("clients.parquet", "config.json", "log.txt"):
            assert (one / file).read_bytes() == (two / file).read_bytes()
        rounds = []
        for place in (one, two):
            pd.read_parquet(place / "rounds.parquet").drop(columns="seconds").to_parquet(place / "timeless.parquet")
            rounds.append((place / "timeless.parquet").read_bytes())
        assert rounds[0] == rounds[1]


@pytest.mark.usefixtures("no_figures")
def test_ctrl_c_keeps_finished_runs_and_the_sweep_can_be_resumed(bench, tmp_path, monkeypatch):
    execute, ran = worker.execute, list[str]()

    def interrupted(run, *rest):
        if len(ran) == 1:
            raise KeyboardInterrupt
        ran.append(run.run_id)
        return execute(run, *rest)

    words = (*SWEEP, "--method", "head", "--seeds", "0,1,2")
    with monkeypatch.context() as broken:
        broken.setattr(worker, "execute", interrupted)
        answer = bench(*words)
    assert answer.code == 130
    assert "Traceback" not in answer.err
    assert list(records(tmp_path / "runs")) == ran
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {*ran, "table.txt", "table.csv", "table.md"}
    again = bench.ok(*words)
    assert "3 runs, 1 already done" in again.err
    assert ["1 of 3 seeds" in said.err for said in (answer, again)] == [True, False]
    assert ["2 of 3 seeds" in said.err for said in (answer, again)] == [False, True]
    assert len(records(tmp_path / "runs")) == 3


def test_ctrl_c_says_how_to_resume(bench, monkeypatch):
    monkeypatch.setattr(worker, "execute", Mock(side_effect=KeyboardInterrupt))
    assert "run the same command again to resume" in bench(*SWEEP, "--method", "head", "--seed", 0).err


LISTENING = """
import signal
from fedprompt.benchmark.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""Runs `bench` with SIGINT enabled: a shell that runs the tests in the background disables it."""


@pytest.mark.slow
def test_sigint_ends_a_process_with_130(tmp_path):
    words = ("sweep", "--method", "head", "--rounds", "100000", "--seeds", "0,1", "--workers", "1")
    with subprocess.Popen(
        [sys.executable, "-c", LISTENING, *words, "--out", str(tmp_path / "runs")],
        cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "runs").is_dir() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)  # the directory is created before the first run
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out == ""
    assert {path.name for path in (tmp_path / "runs").glob("*/*")} <= {"checkpoint.safetensors"}


def npz(path, **changes):
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(24) % 3
    arrays = {"train_x": images, "train_y": labels, "test_x": images, "test_y": labels} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return f"npz:{path}"


@pytest.mark.usefixtures("no_figures")
def test_own_images_can_be_swept_and_moved(bench, tmp_path, executed):
    bench.ok(*SWEEP, "--method", "head", "--seed", 0, "--datasets", npz(tmp_path / "own.npz"))
    (tmp_path / "own.npz").rename(tmp_path / "moved.npz")
    answer = bench(*SWEEP, "--method", "head", "--seed", 0, "--datasets", f"npz:{tmp_path / 'moved.npz'}")
    assert "1 runs, 1 already done" in answer.err
    assert len(executed) == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--methods", "fedvtp"], "did you mean 'fedvpt'"),
        (["--methods", "fedvpt*x"], "fedvpt*x"),
        (["--methods", "pep-fedpt:nonsense"], "nonsense"),
        (["--methods", "head+adam"], "adam"),
        (["--datasets", "digit"], "did you mean 'digits'"),
        (["--datasets", "npz:absent.npz"], "absent.npz"),
        (["--preset", "slow"], "quick"),
        (["--preset", "absent.yaml"], "absent.yaml"),
        (["--set", "head.tokens=3"], "tokens"),
        (["--set", "fedvpt.tokens=3"], "--methods"),
        (["--alpha", "0.1,word"], "'word'"),
        (["--alpha", "-1"], "--alpha -1"),
        (["--clients", "4", "--held-out", "5"], "at most 3"),
        (["--clients", "100000"], "100000"),
        (["--partition", "dirichlett"], "dirichlett"),
        (["--backbone", "vit_tny"], "vit_tny"),
        (["--backbone", "resnet18", "--checkpoint", "random"], "ResNet"),
        (["--checkpoint", "absent.pt"], "absent.pt"),
        (["--image-size", "36"], "multiple of 8"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--plugin", "absent.py"], "absent.py"),
        (["--lr", "0"], "--lr 0"),
        (["--seeds", "a"], "'a'"),
    ],
)
@pytest.mark.parametrize("command", ["sweep", "run"])
def test_usage_error_is_reported_and_leaves_no_files(command, words, named, bench, tmp_path):
    if "cuda:99" in words and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    chosen = words if "--methods" in words else ["--methods", "head", *words]
    refused(bench(command, *chosen), named)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"test_y": None}, "test_y"),
        ({"train_x": np.zeros((24, 8, 8, 3), np.float32)}, "float32"),
        ({"train_x": np.zeros((24, 8, 8), np.uint8)}, "np.repeat"),
        ({"train_y": np.zeros(23, int)}, "23"),
        ({"train_y": np.full(24, "cat")}, "train_y"),
    ],
)
def test_invalid_npz_is_refused_by_array(changes, named, bench, tmp_path):
    refused(bench("sweep", "--methods", "head", "--datasets", npz(tmp_path / "own.npz", **changes)), named, "own.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["own.npz"]


@pytest.mark.parametrize("backbone", ["bench_vit_patch8_32", "test_vit"])
def test_weights_of_another_architecture_are_refused_and_leave_no_files(backbone, bench, tmp_path):
    state = embedded.build(32).state_dict()
    torch.save(state if backbone == "test_vit" else {"cls_token": state["cls_token"]}, tmp_path / "other.pt")
    words = ("--methods", "head", "--backbone", backbone, "--checkpoint", "other.pt")
    refused(bench("sweep", *words), "other.pt does not fit")
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def method(:", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
        ("x = 1", "registers no method"),
    ],
)
def test_broken_plugin_is_refused(text, named, bench, plugin, tmp_path):
    refused(bench("sweep", "--methods", "head", "--plugin", plugin(text=text)), named, "own_plugin.py")
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"own_plugin.py"}


def test_file_in_place_of_the_directory_is_not_changed(bench, tmp_path):
    (tmp_path / "taken").write_text("notes")
    for command in ("sweep", "run"):
        refused(
            bench(command, "--method", "head", "--seed", 0, *SMALL, "--out", "taken"), "--out taken", "choose another"
        )
    assert (tmp_path / "taken").read_text() == "notes"


@pytest.mark.parametrize(
    ("text", "named"), [('{"format": 2, "status": "done"}', "record format 2"), ("{", "delete its directory")]
)
def test_invalid_record_is_not_changed(text, named, bench, tmp_path):
    place = tmp_path / "runs" / config().run_id
    place.mkdir(parents=True)
    (place / "result.json").write_text(text)
    refused(bench("run", *SMALL, "--out", "runs", "--method", "head", "--seed", 0), named, place.name)
    swept = bench(*SWEEP, "--method", "head", "--seed", 0)
    assert swept.code == 2
    assert "left out: " in swept.err
    assert named in swept.err
    assert place.name in swept.err
    assert [path.name for path in place.iterdir()] == ["result.json"]
    assert (place / "result.json").read_text() == text
    assert os.listdir(tmp_path / "runs") == [place.name]


@pytest.mark.parametrize(("name", "value"), [("BENCH_CACHE_GB", "much"), ("BENCH_CACHE", "file/inside")])
def test_invalid_cache_is_refused_before_anything_runs(bench, monkeypatch, tmp_path, name, value):
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, value)
    refused(bench("run", "--method", "head", *SMALL), name)
    assert not (tmp_path / "runs").exists()
