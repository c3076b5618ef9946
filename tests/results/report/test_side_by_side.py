import numpy as np
import pytest

from fedprompt.results.records.frames import load
from fedprompt.results.report import side_by_side
from fedprompt.results.statistics import pairs

METRICS = ["seen.mean", "held_out.mean", "personalised.mean"]


@pytest.fixture
def done(write, runs, generator):
    for method in "abcd":
        for alpha in (0.05, 0.5):
            for seed in range(4):
                write(method, alpha, seed, generator.uniform(0.4, 0.6))
    return load(runs)


def test_differences_are_those_of_bench_compare_with_one_decimal(done):
    found = side_by_side.differences(done, METRICS, list("dabc"))
    assert found["methods"] == list("dabc")
    assert list(found["rows"]) == ["seen.mean", "held_out.mean"]  # no run is personalised
    places = list(zip(*np.triu_indices(4, 1), strict=True))
    for (first, second), place in zip(places, range(6), strict=True):
        a, b = "dabc"[first], "dabc"[second]
        expected = pairs.differences(done, "seen.mean", b, np.random.default_rng(0), [a]).set_index("setting")
        for setting, rows in found["rows"]["seen.mean"].items():
            row = expected.loc[setting]
            shown = [float(f"{100 * row[name]:.1f}") for name in ("value", "low", "high")]
            assert rows[place] == [*shown, row["n"]]


def test_only_the_first_methods_are_compared_where_all_would_take_too_long(done, monkeypatch):
    monkeypatch.setattr(side_by_side, "MAX_INTERVALS", 3 * 3 * 2)  # pairs, settings and their mean, metrics
    found = side_by_side.differences(done, METRICS, list("dabc"))
    assert found["methods"] == list("dab")
    assert [len(rows) for rows in found["rows"]["seen.mean"].values()] == [3, 3, 3]


def test_one_method_is_compared_with_none(write, runs):
    write("a")
    assert side_by_side.differences(load(runs), METRICS, ["a"])["rows"]["seen.mean"] == {}
