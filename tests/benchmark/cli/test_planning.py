import json
import shutil
from pathlib import Path

import pytest

from fedprompt.benchmark.planning import estimate as estimates
from fedprompt.benchmark.planning.estimate import Estimate
from tests.benchmark.conftest import SMALL, Answer, Bench, config, refused


@pytest.fixture
def guessed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A guess of 60 s, 2 MB up and 3 MB down for every run; the methods that were timed."""
    timed: list[str] = []

    def guess(run: object) -> Estimate:
        timed.append(run.method)  # type: ignore[attr-defined]
        return Estimate(60.0, 2_000_000, 3_000_000)

    monkeypatch.setattr(estimates, "estimate", guess)
    return timed


def plan(bench: Bench, *words: object) -> dict[str, float]:
    said: Answer = bench("plan", *SMALL, *words, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)  # type: ignore[no-any-return]


def test_a_plan_adds_up_what_is_to_run(bench: Bench, guessed: list[str], tmp_path: Path) -> None:
    found = plan(bench, "--methods", "head,fedvpt", "--seeds", "0,1,2", "--alpha", "0.1,1", "--workers", 3)
    assert (found["runs"], found["done"], found["to_run"], found["workers"]) == (12, 0, 12, 3)
    assert found["seconds"] == pytest.approx(12 * 60 / 3)
    assert (found["upload_mb"], found["download_mb"]) == pytest.approx((24, 36))
    assert found["memory_mb"] > 0
    assert guessed == ["head", "fedvpt"]
    assert not list(tmp_path.iterdir())


def test_there_are_never_more_workers_than_runs(bench: Bench, guessed: list[str]) -> None:
    assert plan(bench, "--method", "head", "--seed", 0, "--workers", 8)["workers"] == 1


def test_finished_runs_are_not_planned_again_and_say_how_long_others_take(
    bench: Bench, guessed: list[str], directory: Path, tmp_path: Path
) -> None:
    shutil.copytree(directory, tmp_path / "runs")
    for seed, seconds in ((0, 100.0), (1, 200.0)):
        path = tmp_path / "runs" / config(seeds=(seed,)).run_id / "result.json"
        record = json.loads(path.read_text())
        record["seconds"]["total"] = seconds
        path.write_text(json.dumps(record))
    found = plan(bench, "--method", "head", "--seeds", "0,1,2,3", "--alpha", "0.5,5", "--out", "runs", "--workers", 1)
    assert (found["runs"], found["done"], found["to_run"]) == (8, 2, 6)
    assert found["seconds"] == pytest.approx(6 * 150)  # neither seed nor skew changes the work
    found = plan(bench, "--method", "head", "--seed", 7, "--out", "runs", "--rounds", 2, "--workers", 1)
    assert found["seconds"] == 60  # other work: timed


def test_a_failed_run_is_planned_again(bench: Bench, guessed: list[str], directory: Path) -> None:
    found = plan(bench, "--methods", "head,fedvpt", "--seeds", "0,1", "--out", directory)
    assert (found["done"], found["to_run"]) == (3, 1)


def test_where_all_is_done_nothing_is_timed(bench: Bench, guessed: list[str], directory: Path) -> None:
    said = bench("plan", *SMALL, "--method", "head", "--seeds", "0,1", "--out", directory)
    assert said.out == "2 runs: 2 done, 0 to run\n"
    assert said.err == ""
    assert guessed == []


def test_the_plan_in_words(bench: Bench, guessed: list[str]) -> None:
    said = bench("plan", *SMALL, "--method", "head", "--seeds", "0,1,2", "--workers", 1)
    assert said.out.startswith("3 runs: 0 done, 3 to run\nabout 3.0 min with 1 workers, ")
    assert "6.0 MB up and 9.0 MB down" in said.out


def test_a_plan_is_timed_on_the_real_thing(bench: Bench) -> None:
    found = plan(bench, "--methods", "head,local", "--seed", 0)
    assert found["to_run"] == 2
    assert found["seconds"] > 0


def test_a_plan_refuses_what_a_sweep_refuses(bench: Bench, tmp_path: Path) -> None:
    refused(bench("plan", "--methods", "nonsense"), "nonsense")
    refused(bench("plan", "--clients", 4, "--held-out", 4), "--held-out 4")
    assert not list(tmp_path.iterdir())


def test_a_paper_preset_is_planned_without_its_data_and_its_weights(bench: Bench, tmp_path: Path) -> None:
    small = ("--backbone", "vit_tiny_patch16_224", "--image-size", 32, "--data-root", tmp_path)
    said = bench("plan", "--preset", "paper-cifar100", "--methods", "head,fedvpt", *small, "--workers", 1, "--json")
    assert said.code == 0, said.err
    assert "random weights" in said.err
    found = json.loads(said.out)
    assert found["runs"] == 2 * 2 * 3  # methods, alphas, seeds
    (note,) = found["notes"]
    assert note == (
        "cifar100 is not here: its published numbers stand in (50,000 training and 10,000 test images of 100 classes)"
    )
    assert note in said.err
    head = 100 * 192 + 100  # fp32; ten prompt tokens come on top for fedvpt; 4 of 90 seen clients, 60 rounds
    assert found["upload_mb"] == pytest.approx(6 * 60 * 4 * 4 * (head + head + 10 * 192) / 1e6)
    assert found["memory_mb"] > 60_000 * 3 * 32**2 / 1e6
