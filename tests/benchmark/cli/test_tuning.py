"""`bench tune` as a user drives it: what is chosen, on what, how often; resumed, failed, and every slip."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs import worker as attempt
from fedprompt.benchmark.runs.record import Record
from fedprompt.results.figures import drawing as figures
from tests.benchmark.conftest import SMALL, Bench, refused

TUNE = ("tune", *SMALL, "--seed", 0, "--workers", 1)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are executed."""
    execute, names = attempt.execute, list[str]()

    def spied(run: Any, *rest: Any) -> Record:
        names.append(run.run_id)
        return execute(run, *rest)

    monkeypatch.setattr(attempt, "execute", spied)
    return names


def content(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())  # type: ignore[no-any-return]


def test_each_method_gets_the_same_trials_and_the_sweep_its_best(
    bench: Bench, tmp_path: Path, executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "draw", lambda *_, **__: [])
    words = (*TUNE, "--methods", "head,fedvpt,fedncm", "--grid", "lr=0.00001,0.05", "--out", "runs")
    said = bench(*words)
    assert said.code == 0, said.err
    assert len(executed) == 2 + 2 + 1  # nothing is trained in fedncm
    found = content(tmp_path / "runs" / "tuned.yaml")
    assert found["per-method"] == {  # a rate so low learns nothing in a round
        "head": {"lr": 0.05, "trials": 2}, "fedvpt": {"lr": 0.05, "trials": 2}, "fedncm": {"trials": 1},
    }  # fmt: skip
    low, high = found["tuning"]["trials"]["head"]
    assert low["validation"] < high["validation"]
    assert found["tuning"]["validation"] == 0.2
    assert f"head: lr=0.05 ({high['validation']:.1%} on validation samples; 2 trials)" in said.out

    again = bench(*words)
    assert (again.code, again.out) == (0, said.out)
    assert len(executed) == 5
    assert content(tmp_path / "runs" / "tuned.yaml") == found

    preset = ("--preset", "runs/tuned.yaml", "--seed", 0, "--workers", 1)
    swept = bench("sweep", *preset, "--methods", "head,fedncm,local", "--out", "swept")
    assert swept.code == 0, swept.err
    assert "per-method says nothing of local: not tuned" in swept.err
    assert "Tuned on validation samples: head (2 trials); fedncm (1 trial)" in swept.out
    assert "Not tuned: local" in swept.out
    untuned = bench("sweep", *preset, "--methods", "head", "--lr", "0.3", "--out", "swept")
    assert untuned.code == 0, untuned.err
    both = bench("table", "swept").out
    assert "Tuned on validation samples: head lr=0.05 (2 trials); fedncm (1 trial)" in both
    assert "head lr=0.3" in both


def test_labels_of_test_data_do_not_change_the_choice(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*TUNE, "--method", "head", "--grid", "lr=0.001,0.05,5", "--partition", "iid")
    assert bench(*words, "--out", "one").code == 0
    whole = runner.dataset

    def relabelled(config: Any) -> Any:
        data = whole(config)
        return replace(data, test_y=(data.test_y + 1) % 10)

    monkeypatch.setattr(runner, "dataset", relabelled)
    assert bench(*words, "--out", "two").code == 0
    one, two = (content(tmp_path / out / "tuned.yaml") for out in ("one", "two"))
    assert one == two
    scores = bench("table", "one", "--metric", "seen.mean").out, bench("table", "two", "--metric", "seen.mean").out
    assert scores[0] != scores[1]  # the test scores did change


def test_ctrl_c_keeps_the_trials_and_the_same_command_goes_on(
    bench: Bench, tmp_path: Path, executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*TUNE, "--method", "head", "--grid", "lr=0.01,0.02,0.03", "--out", "runs")
    counted = attempt.execute

    def interrupted(run: Any, *rest: Any) -> Record:
        if len(executed) == 2:
            raise KeyboardInterrupt
        return counted(run, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(attempt, "execute", interrupted)
        assert bench(*words).code == 130
    assert not (tmp_path / "runs" / "tuned.yaml").exists()
    said = bench(*words)
    assert "3 runs, 2 done before" in said.err
    assert len(executed) == len(set(executed)) == 3
    assert len(content(tmp_path / "runs" / "tuned.yaml")["tuning"]["trials"]["head"]) == 3


def test_a_trial_that_fails_is_kept_and_not_chosen(bench: Bench, tmp_path: Path) -> None:
    said = bench(*TUNE, "--method", "fedvpt", "--rounds", 2, "--grid", "lr=1e30,0.01", "--out", "runs")
    assert said.code == 0, said.err
    assert "2 trials, 1 failed" in said.out
    found = content(tmp_path / "runs" / "tuned.yaml")
    assert found["per-method"]["fedvpt"]["lr"] == 0.01
    assert [t["failed"] for t in found["tuning"]["trials"]["fedvpt"]] == [1, 0]


def test_a_method_of_which_every_trial_fails_has_no_choice(
    bench: Bench, plugin: Callable[..., Path], tmp_path: Path
) -> None:
    raises = plugin(body="def logits(self, vit, batch, state): raise ArithmeticError('on purpose')")
    said = bench(*TUNE, "--methods", "own,head", "--plugin", raises, "--grid", "lr=0.1", "--out", "runs")
    assert said.code == 1
    assert "own: no choice" in said.out
    found = content(tmp_path / "runs" / "tuned.yaml")
    assert list(found["per-method"]) == ["head"]
    assert found["tuning"]["trials"]["own"][0]["validation"] is None


def test_a_dry_run_counts_and_does_nothing(bench: Bench, tmp_path: Path) -> None:
    grid = ("--grid", "lr=0.001..1:log", "--grid", "fedvpt.tokens=1..20", "--draws", 5)
    said = bench(
        "tune", *SMALL, "--methods", "head,fedvpt,fedncm", "--seeds", "0,1", "--alpha", "0.1,1", *grid, "--dry-run"
    )
    assert said.out == f"{(5 + 5 + 1) * 2 * 2} runs: 0 done, 44 to run\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--validation", "0"], "--validation 0"),
        (["--last", "2"], "1 evaluations after the start"),
        (["--grid", "rounds=1,2"], "what can be tuned"),
        (["--grid", "lr=0.1..1"], "--draws"),
        (["--to", "tuned.txt"], "--to tuned.txt"),
        (["--methods", "fedvtp"], "did you mean 'fedvpt'"),
        (["--set", "fedvpt.tokens=3"], "--methods"),
    ],
)
def test_a_slip_is_told_in_a_line_and_leaves_nothing_behind(
    words: list[str], named: str, bench: Bench, tmp_path: Path
) -> None:
    refused(bench(*TUNE, "--method", "head", *words), named)
    assert not list(tmp_path.iterdir())
