"""`bench tune`: its choice and its trials, resuming, failures, and usage errors."""

from dataclasses import replace

import pytest
import yaml

from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs import worker
from fedprompt.results.figures import drawing as figures
from tests.benchmark.conftest import SMALL, refused

TUNE = ("tune", *SMALL, "--seed", 0, "--workers", 1)


def content(path):
    return yaml.safe_load(path.read_text())


def test_every_method_gets_the_same_trials_and_a_sweep_uses_the_best(bench, tmp_path, executed, monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_, **__: [])
    words = (*TUNE, "--methods", "head,fedvpt,fedncm", "--grid", "lr=0.00001,0.05", "--out", "runs")
    answer = bench.ok(*words)
    assert len(executed) == 2 + 2 + 1  # fedncm trains nothing
    found = content(tmp_path / "runs" / "tuned.yaml")
    assert found["per-method"] == {  # the lower rate learns nothing in one round
        "head": {"lr": 0.05, "trials": 2}, "fedvpt": {"lr": 0.05, "trials": 2}, "fedncm": {"trials": 1},
    }  # fmt: skip
    low, high = found["tuning"]["trials"]["head"]
    assert low["validation"] < high["validation"]
    assert found["tuning"]["validation"] == 0.2
    assert f"head: lr=0.05 ({high['validation']:.1%} on validation samples; 2 trials)" in answer.out

    again = bench(*words)
    assert (again.code, again.out) == (0, answer.out)
    assert len(executed) == 5
    assert content(tmp_path / "runs" / "tuned.yaml") == found

    preset = ("--preset", "runs/tuned.yaml", "--seed", 0, "--workers", 1)
    swept = bench.ok("sweep", *preset, "--methods", "head,fedncm,local", "--out", "swept")
    assert "not tuned, because per-method has no entry: local" in swept.err
    assert "Tuned on validation samples: head (2 trials); fedncm (1 trial)" in swept.out
    assert "Not tuned: local" in swept.out
    bench.ok("sweep", *preset, "--methods", "head", "--lr", "0.3", "--out", "swept")
    both = bench("table", "swept").out
    assert "Tuned on validation samples: head lr=0.05 (2 trials); fedncm (1 trial)" in both
    assert "head lr=0.3" in both


def test_test_labels_do_not_affect_the_choice(bench, tmp_path, monkeypatch):
    words = (*TUNE, "--method", "head", "--grid", "lr=0.001,0.05,5", "--partition", "iid")
    bench.ok(*words, "--out", "one")
    whole = runner.dataset

    def relabelled(config):
        data = whole(config)
        return replace(data, test_y=(data.test_y + 1) % 10)

    monkeypatch.setattr(runner, "dataset", relabelled)
    bench.ok(*words, "--out", "two")
    one, two = (content(tmp_path / out / "tuned.yaml") for out in ("one", "two"))
    assert one == two
    scores = bench("table", "one", "--metric", "seen.mean").out, bench("table", "two", "--metric", "seen.mean").out
    assert scores[0] != scores[1]  # the test scores did change


def test_ctrl_c_keeps_finished_trials_and_tuning_can_be_resumed(bench, tmp_path, executed, monkeypatch):
    words = (*TUNE, "--method", "head", "--grid", "lr=0.01,0.02,0.03", "--out", "runs")
    counted = worker.execute

    def interrupted(run, *rest):
        if len(executed) == 2:
            raise KeyboardInterrupt
        return counted(run, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(worker, "execute", interrupted)
        assert bench(*words).code == 130
    assert not (tmp_path / "runs" / "tuned.yaml").exists()
    answer = bench(*words)
    assert "3 runs, 2 already done" in answer.err
    assert len(executed) == len(set(executed)) == 3
    assert len(content(tmp_path / "runs" / "tuned.yaml")["tuning"]["trials"]["head"]) == 3


def test_failed_trial_is_recorded_and_not_chosen(bench, tmp_path, small_data):
    small = ("--datasets", small_data, "--clients", 5, "--rounds", 2)
    answer = bench.ok(*TUNE, *small, "--method", "fedvpt", "--grid", "lr=1e30,0.01", "--out", "runs")
    assert "2 trials, 1 failed" in answer.out
    found = content(tmp_path / "runs" / "tuned.yaml")
    assert found["per-method"]["fedvpt"]["lr"] == 0.01
    assert [t["failed"] for t in found["tuning"]["trials"]["fedvpt"]] == [1, 0]


def test_method_whose_trials_all_fail_has_no_choice(bench, plugin, tmp_path):
    raises = plugin(body="def logits(self, vit, batch, state): raise ArithmeticError('on purpose')")
    answer = bench(*TUNE, "--methods", "own,head", "--plugin", raises, "--grid", "lr=0.1", "--out", "runs")
    assert answer.code == 1
    assert "own: no choice" in answer.out
    found = content(tmp_path / "runs" / "tuned.yaml")
    assert list(found["per-method"]) == ["head"]
    assert found["tuning"]["trials"]["own"][0]["validation"] is None


def test_dry_run_counts_runs_and_runs_nothing(bench, tmp_path):
    grid = ("--grid", "lr=0.001..1:log", "--grid", "fedvpt.tokens=1..20", "--draws", 5)
    answer = bench(
        "tune", *SMALL, "--methods", "head,fedvpt,fedncm", "--seeds", "0,1", "--alpha", "0.1,1", *grid, "--dry-run"
    )
    assert answer.out == f"{(5 + 5 + 1) * 2 * 2} runs: 0 done, 44 to run\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--validation", "0"], "--validation 0"),
        (["--last", "2"], "1 evaluations after the start"),
        (["--grid", "rounds=1,2"], "cannot be tuned"),
        (["--grid", "lr=0.1..1"], "--draws"),
        (["--to", "tuned.txt"], "--to tuned.txt"),
        (["--methods", "fedvtp"], "did you mean 'fedvpt'"),
        (["--set", "fedvpt.tokens=3"], "--methods"),
    ],
)
def test_usage_error_is_reported_and_leaves_no_files(words, named, bench, tmp_path):
    refused(bench(*TUNE, "--method", "head", *words), named)
    assert not list(tmp_path.iterdir())
