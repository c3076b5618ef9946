import heapq
from collections import deque

import numpy as np
import pytest

from fedprompt.benchmark.runs.store import Entry
from fedprompt.benchmark.scheduling.time_left import Forecast
from tests.benchmark.conftest import configs

ROUNDS = 10


def record(run, seconds, status="done"):
    return Entry(run.run_id, status, {"config": run.model_dump(mode="json"), "seconds": {"total": seconds}})


def fours(**given):
    return configs(seeds=(0, 1, 2, 3), **given)


def test_nothing_is_known_before_the_first_round():
    runs = fours()
    forecast = Forecast(runs)
    assert forecast.time_left(100) is None
    forecast.reached(runs[0].run_id, 0, 100)
    assert forecast.time_left(130) is None


def test_rounds_of_running_runs_count():
    runs = fours()
    forecast = Forecast(runs)
    for run in runs[:2]:
        forecast.reached(run.run_id, 0, 100)
    forecast.reached(runs[0].run_id, 0.5, 130)
    forecast.reached(runs[1].run_id, 1.0, 130)  # a run takes 40 seconds; 20 are left, then two runs
    assert forecast.time_left(130).seconds == pytest.approx(60)


def test_each_method_is_expected_to_take_what_its_own_runs_took():
    runs = configs(methods=("head", "fedvpt"), seeds=(0, 1, 2))
    cheap, dear = runs[:3], runs[3:]
    forecast = Forecast(runs)
    now = 0
    for run, seconds in ((cheap[0], 1), (dear[0], 9), (cheap[1], 1)):
        forecast.reached(run.run_id, 0, now)
        now += seconds
        forecast.ended(run.run_id, True, now)
    assert forecast.time_left(now).seconds == pytest.approx(9 + 9 + 1)


def test_a_method_that_has_not_run_is_expected_to_take_the_mean():
    runs = configs(methods=("head", "fedvpt", "fedper"), seeds=(0,))
    forecast = Forecast(runs)
    for run, began, ended in ((runs[0], 0, 2), (runs[1], 2, 8)):
        forecast.reached(run.run_id, 0, began)
        forecast.ended(run.run_id, True, ended)
    left = forecast.time_left(8)
    assert left.seconds == pytest.approx(4)
    assert (left.low, left.high) == (pytest.approx(2), pytest.approx(8))  # a wide range: nothing of it was seen


def test_earlier_records_say_how_methods_compare_but_not_how_fast_this_sweep_is():
    runs = configs(methods=("head", "fedvpt"), seeds=(0, 1))
    before = configs(methods=("head", "fedvpt"), seeds=(7,))
    forecast = Forecast(runs, [record(before[0], 10), record(before[1], 50), record(before[1], 999, "failed")])
    forecast.reached(runs[0].run_id, 0, 0)
    forecast.ended(runs[0].run_id, True, 1)  # ten times as fast as then
    assert forecast.time_left(1).seconds == pytest.approx(1 + 5 + 5, rel=1e-3)


def test_a_failed_run_is_over_but_no_evidence():
    runs = fours()
    forecast = Forecast(runs)
    forecast.reached(runs[0].run_id, 0, 0)
    forecast.ended(runs[0].run_id, False, 1)
    assert forecast.time_left(1) is None
    forecast.reached(runs[1].run_id, 0, 1)
    forecast.ended(runs[1].run_id, True, 11)
    assert forecast.time_left(11).seconds == pytest.approx(20)


def test_a_run_of_another_driver_is_over_without_having_begun_here():
    runs = fours()
    forecast = Forecast(runs)
    forecast.ended(runs[3].run_id, True, 5)
    forecast.reached(runs[0].run_id, 0, 5)
    forecast.ended(runs[0].run_id, True, 15)
    assert forecast.time_left(15).seconds == pytest.approx(20)


def test_a_larger_data_set_is_expected_to_take_longer_before_it_has_run(monkeypatch):
    images = {"small": 100, "large": 300}
    monkeypatch.setattr(
        "fedprompt.benchmark.scheduling.time_left.registry.source", lambda name: type("S", (), {"train": images[name]})
    )
    runs = [run.model_copy(update={"dataset": name}) for name in images for run in configs()]
    forecast = Forecast(runs)
    forecast.reached(runs[0].run_id, 0, 0)
    forecast.ended(runs[0].run_id, True, 10)
    assert forecast.time_left(10).seconds == pytest.approx(30)


def sweep(runs, seconds, workers, overhead=0.5):
    """Events (time, run id, share of its rounds or None at its end) of a sweep with these durations."""
    queue, active, events = deque(runs), [(0.0, i) for i in range(workers)], []
    while queue:
        began, worker = heapq.heappop(active)
        run = queue.popleft()
        took = seconds[run.run_id]
        events += [(began + took * share, run.run_id, share) for share in np.arange(ROUNDS + 1) / ROUNDS]
        events.append((began + took + 1e-6, run.run_id, None))
        heapq.heappush(active, (began + took + overhead, worker))
    return sorted(events, key=lambda event: event[0])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("workers", "datasets"), [(1, 1), (2, 2), (8, 1)])
def test_the_estimate_is_within_a_factor_of_1_3_from_a_fifth_of_264_runs_on(seed, workers, datasets):
    """Costs of methods differ by two orders of magnitude; settings and runs vary by some ten percent."""
    generator = np.random.default_rng(seed)
    names = [f"method-{place}" for place in range(44 // datasets)]
    costs = dict(zip(names, 30 * np.exp(generator.normal(0, 1.2, len(names))), strict=True))
    settings = [(dataset, alpha) for dataset in range(datasets) for alpha in (0.05, 0.5)]
    slower = dict(zip(settings, (1, 1.1, 2.5, 2.8), strict=False))
    (base,) = configs(rounds=ROUNDS)
    grid = [
        base.model_copy(
            update={
                "method": name,
                "alpha": alpha,
                "dataset": f"npz:{dataset}.npz",
                "data_identity": f"{dataset}",
                "seed": run_seed,
            }
        )
        for run_seed in range(3)
        for dataset, alpha in settings
        for name in names
    ]
    assert len(grid) == 264
    seconds = {
        run.run_id: costs[run.method] * slower[int(run.dataset[4]), run.alpha] * generator.lognormal(0, 0.12)
        for run in grid
    }
    events = sweep(grid, seconds, workers)
    end, forecast, finished, wrong = events[-1][0], Forecast(grid), 0, []
    for now, run_id, share in events:
        if share is None:
            forecast.ended(run_id, True, now)
            finished += 1
        else:
            forecast.reached(run_id, share, now)
        if finished >= len(grid) / 5 and share is None and finished % 4 == 0 and end - now > 0.01 * end:
            left = forecast.time_left(now)
            ratio = left.seconds / (end - now)
            if not 1 / 1.3 < ratio < 1.3:
                wrong.append((round(now / end, 3), finished, round(ratio, 2)))
    assert not wrong
