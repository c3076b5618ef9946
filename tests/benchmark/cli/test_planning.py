import json
import re
import shutil

import pytest

from fedprompt.benchmark.planning import estimate as estimates
from fedprompt.benchmark.planning.estimate import Estimate
from tests.benchmark.conftest import SMALL, Answer, config, refused
from tests.results.conftest import writer


@pytest.fixture
def estimated(monkeypatch):
    """Replaces estimates by 60 s, 2 MB up and 3 MB down; returns the methods that were estimated."""
    timed: list[str] = []

    def estimate(run):
        timed.append(run.method)
        return Estimate(60.0, 2_000_000, 3_000_000)

    monkeypatch.setattr(estimates, "estimate", estimate)
    return timed


def plan(bench, *words):
    answer: Answer = bench("plan", *SMALL, *words, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_plan_sums_over_pending_runs(bench, estimated, tmp_path):
    found = plan(bench, "--methods", "head,fedvpt", "--seeds", "0,1,2", "--alpha", "0.1,1", "--workers", 3)
    assert (found["runs"], found["done"], found["to_run"], found["workers"]) == (12, 0, 12, 3)
    assert found["seconds"] == pytest.approx(12 * 60 / 3)
    assert (found["upload_mb"], found["download_mb"]) == pytest.approx((24, 36))
    assert found["memory_mb"] > 0
    assert estimated == ["head", "fedvpt"]
    assert not list(tmp_path.iterdir())


def test_plan_has_at_most_one_worker_per_run(bench, estimated):
    assert plan(bench, "--method", "head", "--seed", 0, "--workers", 8)["workers"] == 1


def test_finished_runs_are_not_planned_and_give_the_time_of_others(bench, estimated, directory, tmp_path):
    shutil.copytree(directory, tmp_path / "runs")
    for seed, seconds in ((0, 100.0), (1, 200.0)):
        path = tmp_path / "runs" / config(seeds=(seed,)).run_id / "result.json"
        record = json.loads(path.read_text())
        record["seconds"]["total"] = seconds
        path.write_text(json.dumps(record))
    found = plan(bench, "--method", "head", "--seeds", "0,1,2,3", "--alpha", "0.5,5", "--out", "runs", "--workers", 1)
    assert (found["runs"], found["done"], found["to_run"]) == (8, 2, 6)
    assert found["seconds"] == pytest.approx(6 * 150)  # the same workload: seed and alpha are ignored
    found = plan(bench, "--method", "head", "--seed", 7, "--out", "runs", "--rounds", 2, "--workers", 1)
    assert found["seconds"] == 60  # another workload: estimated


def test_failed_run_is_planned_again(bench, estimated, directory):
    found = plan(bench, "--methods", "head,fedvpt", "--seeds", "0,1", "--out", directory)
    assert (found["done"], found["to_run"]) == (3, 1)


def test_nothing_is_timed_if_all_runs_are_done(bench, estimated, directory):
    answer = bench("plan", *SMALL, "--method", "head", "--seeds", "0,1", "--out", directory)
    assert answer.out == "2 runs: 2 done, 0 to run\n"
    assert answer.err == ""
    assert estimated == []


def test_plan_prints_time_and_traffic(bench, estimated):
    answer = bench("plan", *SMALL, "--method", "head", "--seeds", "0,1,2", "--workers", 1)
    assert answer.out.startswith("3 runs: 0 done, 3 to run\n2 to 4 min with 1 worker, ")
    assert "6.0 MB up and 9.0 MB down" in answer.out


def test_plan_times_real_steps(bench):
    found = plan(bench, "--methods", "head,local", "--seed", 0)
    assert found["to_run"] == 2
    assert found["seconds"] > 0


def test_detect_computes_the_seeds_from_the_records_and_times_nothing(bench, estimated, tmp_path):
    write = writer(tmp_path)
    for seed, lead in enumerate((0.1, 0.3)):
        write("a", seed=seed, seen=0.5 + lead)
        write("b", seed=seed, seen=0.5)
    answer = bench("plan", "--detect", "3", "--out", "runs")
    assert (answer.code, answer.err, estimated) == (0, "", [])
    assert answer.out.startswith(
        "seeds to detect 3 points of seen.mean between two methods (power 80%, two-sided 5 %)\n"
    )
    found = json.loads(bench("plan", "--detect", "3", "--out", "runs", "--json").out)
    (row,) = found["settings"]
    assert (found["points"], row["pairs"]) == (3, 1)
    assert row["seeds_median"] == row["seeds_worst"] == 177  # statsmodels' TTestPower: 176.35


def test_detect_refuses_records_without_a_spread_and_a_difference_of_zero(bench, directory):
    refused(bench("plan", "--detect", "3", "--out", directory), "two finished seeds in common")
    refused(bench("plan", "--detect", "0", "--out", directory), "--detect 0")


def test_plan_refuses_what_a_sweep_refuses(bench, tmp_path):
    refused(bench("plan", "--methods", "nonsense"), "nonsense")
    refused(bench("plan", "--clients", 4, "--held-out", 4), "--held-out 4")
    assert not list(tmp_path.iterdir())


def test_paper_preset_is_planned_without_data_and_weights(bench, tmp_path):
    small = ("--backbone", "vit_tiny_patch16_224", "--image-size", 32, "--data-root", tmp_path)
    answer = bench.ok(
        "plan", "--preset", "paper-cifar100", "--methods", "head,fedvpt", *small, "--workers", 1, "--json"
    )
    assert "random weights" in answer.err
    found = json.loads(answer.out)
    assert found["runs"] == 2 * 2 * 3  # methods, alphas, seeds
    (note,) = found["notes"]
    assert note == (
        "cifar100 is not installed; using its published size: 50,000 training and 10,000 test images, 100 classes"
    )
    assert note in answer.err
    head = 100 * 192 + 100  # fp32; fedvpt adds ten prompt tokens; 5 of 90 seen clients, 60 rounds
    assert found["upload_mb"] == pytest.approx(6 * 60 * 5 * 4 * (head + head + 10 * 192) / 1e6)
    assert found["memory_mb"] > 60_000 * 3 * 32**2 / 1e6


def test_a_pilot_proposes_rounds_and_leaves_no_runs(bench, small_data, tmp_path):
    words = ("plan", "--methods", "head,local", "--datasets", small_data, "--clients", 4, "--to-plateau", 4)
    answer = bench.ok(*words, "--alpha", "5", "--lr", "1e-6")  # trains nothing: a plateau from the first round
    assert answer.out == "--rounds 1: from there to round 4, seen accuracy stays within 5% of its end\n"
    assert [line.split()[0] for line in answer.err.splitlines()] == ["head", "local"]
    assert not list(tmp_path.glob("runs*"))


@pytest.mark.parametrize("command", ["plan", "run", "sweep"])
def test_a_method_that_does_not_fit_into_memory_is_refused_in_one_line_before_anything_starts(bench, tmp_path, command):
    out = tmp_path / "runs"
    words = ("--methods", "fedvpt:tokens=1000000000000" if command == "run" else "head,fedvpt:tokens=1000000000000")
    answer = bench(command, *words, "--seeds", "0", "--precision", "fp32", "--out", out)
    found = re.fullmatch(
        r"error: fedvpt:tokens=1000000000000 needs more memory than this machine has \(one tensor of 384,000.0 GB, and "
        r"([\d,.]+) GB are free\); lower its hyperparameters, or use a smaller backbone.",
        answer.err.splitlines()[-1],
    )
    assert answer.code == 2
    assert found, answer.err
    assert 0 < float(found[1].replace(",", "")) < 384_000
    assert "Traceback" not in answer.err
    assert not out.exists()
