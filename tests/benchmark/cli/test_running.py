"""`bench run` and `bench sweep` as a user drives them: run, resume, extend, interrupt, fail, and every slip."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fedprompt.benchmark.backbone import embedded
from fedprompt.benchmark.runs import worker as attempt
from fedprompt.benchmark.runs.record import Record
from tests.benchmark.conftest import SMALL, Bench, config, configs, refused

SWEEP = ("sweep", *SMALL, "--workers", 1, "--out", "runs")
RAISES = "def logits(self, vit, batch, state): raise ArithmeticError('on purpose')"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps without figures, which take longer than such small runs."""
    from fedprompt.results.figures import drawing as figures

    monkeypatch.setattr(figures, "draw", lambda *_, **__: [])


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are executed."""
    execute, names = attempt.execute, list[str]()

    def spied(run: object, *rest: object) -> Record:
        names.append(run.run_id)  # type: ignore[attr-defined]
        return execute(run, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(attempt, "execute", spied)
    return names


def records(directory: Path) -> dict[str, dict[str, object]]:
    return {path.parent.name: json.loads(path.read_text()) for path in directory.glob("*/result.json")}


def test_a_run_is_told_in_a_few_lines_and_kept(bench: Bench, tmp_path: Path, executed: list[str]) -> None:
    words = ("run", "--method", "local", *SMALL, "--out", "runs")
    said = bench(*words)
    assert said.code == 0
    run = config(methods=("local",))
    (result,) = records(tmp_path / "runs").values()
    assert result["run_id"] == run.run_id
    mean = result["metrics"]["seen"]["mean"]  # type: ignore[index]
    assert f"runs/{run.run_id}" in said.out
    assert f"seen: mean {100 * mean:.1f}%" in said.out
    assert "held-out: n/a" in said.out
    again = bench(*words)
    assert "finished before" in again.err
    assert again.out == said.out
    assert executed == [run.run_id]


def test_a_run_in_json_is_its_record(bench: Bench, tmp_path: Path) -> None:
    said = bench("run", "--method", "head", *SMALL, "--seed", 3, "--json")
    (result,) = records(tmp_path / "runs" / "default").values()
    assert json.loads(said.out) == result
    assert result["seed"] == 3


def test_a_run_that_fails_says_why_and_exits_with_one(
    bench: Bench, plugin: Callable[..., Path], tmp_path: Path
) -> None:
    said = bench("run", "--method", "own", "--plugin", plugin(body=RAISES), *SMALL)
    assert said.code == 1
    assert "ArithmeticError: on purpose" in said.err
    assert "Traceback" not in said.err
    (result,) = records(tmp_path / "runs" / "default").values()
    assert result["status"] == "failed"
    assert bench("run", "--method", "own", "--plugin", tmp_path / "own_plugin.py", *SMALL, "--json").code == 1


def test_a_learning_rate_that_breaks_training_is_a_failed_run(bench: Bench) -> None:
    said = bench("run", "--method", "fedvpt", *SMALL, "--lr", "1e30", "--rounds", 2)
    assert said.code == 1
    assert "is not finite; lower --lr" in said.err


def test_run_does_one_run(bench: Bench, tmp_path: Path) -> None:
    refused(bench("run", *SMALL), "bench sweep")
    refused(bench("run", "--method", "head", "--seeds", "0,1"), "asks for 2")
    assert not list(tmp_path.iterdir())


def test_a_sweep_leaves_its_table_and_figures_and_the_same_command_runs_nothing(
    bench: Bench, tmp_path: Path, executed: list[str]
) -> None:
    words = (*SWEEP, "--methods", "head,fedvpt", "--seeds", "0,1")
    said = bench(*words)
    assert said.code == 0
    assert len(executed) == 4
    made = {path.name for path in (tmp_path / "runs").iterdir()}
    assert made == {*executed, "figures", "table.txt", "table.csv", "table.md"}
    assert (tmp_path / "runs" / "table.txt").read_text().rstrip() == said.out.rstrip()
    pictures = {path.name for path in (tmp_path / "runs" / "figures").iterdir()}
    for name in ("accuracy_by_alpha", "accuracy_over_rounds", "partition", "per_client"):
        assert {f"{name}.png", f"{name}.csv"} <= pictures
    files = [path for path in (tmp_path / "runs").glob("*/*") if path.parent.name in executed]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = bench(*words)
    assert again.code == 0
    assert "4 runs, 4 done before" in again.err
    assert again.out == said.out
    assert len(executed) == 4
    assert {path: path.stat().st_mtime_ns for path in files} == before


@pytest.mark.usefixtures("undrawn")
def test_a_wider_sweep_runs_only_what_is_new(bench: Bench, executed: list[str]) -> None:
    bench(*SWEEP, "--method", "head", "--seeds", "0")
    said = bench(*SWEEP, "--methods", "head,fedvpt", "--seeds", "0,1", "--alpha", "0.5,5")
    assert "8 runs, 1 done before" in said.err
    assert len(executed) == len(set(executed)) == 8
    assert sorted(executed) == sorted(
        run.run_id for run in configs(methods=("head", "fedvpt"), seeds=(0, 1), alpha=(0.5, 5.0))
    )


@pytest.mark.usefixtures("undrawn")
def test_one_method_that_fails_stops_no_other_and_is_tried_again(
    bench: Bench, plugin: Callable[..., Path], tmp_path: Path, executed: list[str]
) -> None:
    words = (*SWEEP, "--methods", "own,head", "--seeds", "0,1", "--plugin", plugin(body=RAISES))
    said = bench(*words)
    assert said.code == 1
    assert "2 runs failed; `bench status runs` says why" in said.err
    assert said.err.count("ArithmeticError: on purpose") == 2
    assert "Traceback" not in said.err
    assert "failed" in said.out
    assert sorted((r["method"], r["status"]) for r in records(tmp_path / "runs").values()) == [
        ("head", "done"), ("head", "done"), ("own", "failed"), ("own", "failed"),
    ]  # fmt: skip
    assert "ArithmeticError: on purpose" in bench("status", "runs").out
    assert "failed" in bench("table", "runs").out
    again = bench(*words)
    assert again.code == 1
    assert "4 runs, 2 done before" in again.err
    assert len(executed) == 6


@pytest.mark.usefixtures("undrawn")
def test_where_everything_failed_there_is_a_table_still(bench: Bench, plugin: Callable[..., Path]) -> None:
    said = bench(*SWEEP, "--method", "own", "--seed", 0, "--plugin", plugin(body=RAISES))
    assert said.code == 1
    assert "failed" in said.out


@pytest.mark.usefixtures("undrawn")
def test_the_same_seed_gives_the_same_files_but_for_the_clock(bench: Bench, tmp_path: Path) -> None:
    for out in ("one", "two"):
        assert bench(*SWEEP, "--methods", "pep-fedpt,local", "--seed", 0, "--out", out).code == 0
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


@pytest.mark.usefixtures("undrawn")
def test_ctrl_c_keeps_what_had_finished_and_the_same_command_goes_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute, ran = attempt.execute, list[str]()

    def interrupted(run: object, *rest: object) -> Record:
        if len(ran) == 1:
            raise KeyboardInterrupt
        ran.append(run.run_id)  # type: ignore[attr-defined]
        return execute(run, *rest)  # type: ignore[arg-type]

    words = (*SWEEP, "--method", "head", "--seeds", "0,1,2")
    with monkeypatch.context() as broken:
        broken.setattr(attempt, "execute", interrupted)
        said = bench(*words)
    assert said.code == 130
    assert "Traceback" not in said.err
    assert list(records(tmp_path / "runs")) == ran
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ran
    again = bench(*words)
    assert again.code == 0
    assert "3 runs, 1 done before" in again.err
    assert len(records(tmp_path / "runs")) == 3


def test_ctrl_c_says_that_the_same_command_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> Record:
        raise KeyboardInterrupt

    monkeypatch.setattr(attempt, "execute", interrupt)
    assert "the same command goes on" in bench(*SWEEP, "--method", "head", "--seed", 0).err


LISTENING = """
import signal
from fedprompt.benchmark.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""`bench`, which a shell that put the tests in the background would have made deaf to Ctrl-C."""


def test_a_real_interrupt_ends_a_process_with_130(tmp_path: Path) -> None:
    words = ("sweep", "--method", "head", "--rounds", "100000", "--seeds", "0,1", "--workers", "1")
    with subprocess.Popen(
        [sys.executable, "-c", LISTENING, *words, "--out", str(tmp_path / "runs")],
        cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "runs").is_dir() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)  # the directory appears when the first run is about to begin
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out == ""
    assert list((tmp_path / "runs").iterdir()) == []


def npz(path: Path, **changes: object) -> str:
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(24) % 3
    arrays = {"train_x": images, "train_y": labels, "test_x": images, "test_y": labels} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]
    return f"npz:{path}"


@pytest.mark.usefixtures("undrawn")
def test_images_of_ones_own_are_swept_and_may_be_moved(bench: Bench, tmp_path: Path, executed: list[str]) -> None:
    assert bench(*SWEEP, "--method", "head", "--seed", 0, "--datasets", npz(tmp_path / "own.npz")).code == 0
    (tmp_path / "own.npz").rename(tmp_path / "moved.npz")
    said = bench(*SWEEP, "--method", "head", "--seed", 0, "--datasets", f"npz:{tmp_path / 'moved.npz'}")
    assert "1 runs, 1 done before" in said.err
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
def test_a_mistake_is_told_in_a_line_and_leaves_nothing_behind(
    command: str, words: list[str], named: str, bench: Bench, tmp_path: Path
) -> None:
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
def test_an_npz_that_does_not_fit_is_told_with_its_array(
    changes: dict[str, object], named: str, bench: Bench, tmp_path: Path
) -> None:
    refused(bench("sweep", "--methods", "head", "--datasets", npz(tmp_path / "own.npz", **changes)), named, "own.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["own.npz"]


@pytest.mark.parametrize("backbone", ["bench_vit_patch8_32", "test_vit"])
def test_weights_of_another_architecture_leave_nothing_behind(backbone: str, bench: Bench, tmp_path: Path) -> None:
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
def test_a_broken_plugin_is_told_in_a_line(
    text: str, named: str, bench: Bench, plugin: Callable[..., Path], tmp_path: Path
) -> None:
    refused(bench("sweep", "--methods", "head", "--plugin", plugin(text=text)), named, "own_plugin.py")
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"own_plugin.py"}


def test_a_file_in_place_of_the_directory_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("notes")
    for command in ("sweep", "run"):
        refused(
            bench(command, "--method", "head", "--seed", 0, *SMALL, "--out", "taken"), "--out taken", "name another"
        )
    assert (tmp_path / "taken").read_text() == "notes"


@pytest.mark.parametrize(
    ("text", "named"), [('{"format": 2, "status": "done"}', "record format 2"), ("{", "delete its directory")]
)
def test_a_record_that_cannot_be_read_is_left_as_it_is(text: str, named: str, bench: Bench, tmp_path: Path) -> None:
    place = tmp_path / "runs" / config().run_id
    place.mkdir(parents=True)
    (place / "result.json").write_text(text)
    for words in (SWEEP, ("run", *SMALL, "--out", "runs")):
        refused(bench(*words, "--method", "head", "--seed", 0), named, place.name)
    assert [path.name for path in place.iterdir()] == ["result.json"]
    assert (place / "result.json").read_text() == text
    assert os.listdir(tmp_path / "runs") == [place.name]


@pytest.mark.parametrize(("name", "value"), [("BENCH_CACHE_GB", "much"), ("BENCH_CACHE", "file/inside")])
def test_a_cache_that_cannot_be_had_is_refused_before_anything_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, value)
    refused(bench("run", "--method", "head", *SMALL), name)
    assert not (tmp_path / "runs").exists()
