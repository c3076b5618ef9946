from typing import Any

from fedprompt.benchmark.runs.store import Entry
from fedprompt.benchmark.scheduling.order import longest_first, seed_by_seed
from tests.benchmark.conftest import config, configs


def finished(run, seconds, status="done"):
    result: dict[str, Any] = {"config": run.model_dump(mode="json"), "seconds": {"total": seconds}}
    return Entry(run.run_id, status, result)


def test_runs_of_equal_length_keep_their_order():
    runs = configs(methods=("head", "fedvpt"), seeds=(0, 1))
    assert longest_first(runs) == runs


def test_more_rounds_epochs_or_clients_per_round_take_longer():
    base = config(rounds=2)
    runs = [config(rounds=1), base, config(rounds=3), config(rounds=2, epochs=5), config(rounds=2, participation=0.9)]
    assert longest_first(runs) == [runs[4], runs[3], runs[2], runs[1], runs[0]]  # 1.8, 1.0, 0.3, 0.2, 0.1


def test_the_slower_method_starts_first():
    head, prompts = configs(methods=("head", "fedvpt"), seeds=(1,))
    known = configs(methods=("head", "fedvpt"), seeds=(0,))
    assert longest_first([head, prompts], [finished(known[0], 1), finished(known[1], 5)]) == [prompts, head]
    assert longest_first([prompts, head], [finished(known[0], 5), finished(known[1], 1)]) == [head, prompts]


def test_a_method_without_finished_runs_has_the_mean_rate_of_the_others():
    known = configs(methods=("head", "fedvpt"), seeds=(0,))
    runs = configs(methods=("head", "fedvpt", "fedper"), seeds=(1,))
    assert [r.method for r in longest_first(runs, [finished(known[0], 1), finished(known[1], 5)])] == [
        "fedvpt", "fedper", "head",
    ]  # fmt: skip


def test_the_duration_of_failed_runs_is_ignored():
    head, prompts = configs(methods=("head", "fedvpt"), seeds=(1,))
    assert longest_first([head, prompts], [finished(config(methods=("fedvpt",)), 99, "failed")]) == [head, prompts]


def test_runs_are_sorted_by_the_order_of_their_seeds_and_otherwise_keep_theirs():
    runs = configs(methods=("head", "fedvpt"), alpha=(0.1, 1.0), seeds=(7, 3))
    pending = [runs[5], *runs[1:5], *runs[6:]]  # the first run is done, the longest one comes first
    assert [(run.seed, run.method, run.alpha) for run in seed_by_seed(pending, (run.seed for run in runs))] == [
        (7, "fedvpt", 0.1), (7, "head", 1.0), (7, "fedvpt", 1.0),
        (3, "head", 1.0), (3, "head", 0.1), (3, "fedvpt", 0.1), (3, "fedvpt", 1.0),
    ]  # fmt: skip
