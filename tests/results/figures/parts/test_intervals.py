import pandas as pd
import pytest

from fedprompt.results.figures.measurements.accuracy import accuracy_by_alpha
from fedprompt.results.figures.parts.intervals import bars
from fedprompt.results.records.frames import load


def test_bars_reach_from_the_mean_to_the_ends_of_its_interval_in_percent():
    data = pd.DataFrame({"mean": [0.5, 0.25], "low": [0.375, None], "high": [0.75, None]})
    assert bars(data).tolist() == [[12.5, 0], [25, 0]]


def test_an_interval_that_rounding_puts_beside_its_mean_has_a_bar_of_length_zero():
    data = pd.DataFrame({"mean": [0.3], "low": [0.3 + 1e-16], "high": [0.3 - 1e-16]})
    assert bars(data).tolist() == [[0], [0]]


@pytest.mark.parametrize("accuracy", [0.1, 0.7, 0.8541666666666666, 0.9513888888888888])
def test_a_method_with_the_same_score_for_every_seed_can_be_drawn(write, runs, accuracy):
    for method in range(12):
        for seed in range(3):
            write(f"m{method}", 0.5, seed, accuracy)
    accuracy_by_alpha(load(runs))
