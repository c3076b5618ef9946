from typing import Literal

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs import reproduce
from fedprompt.benchmark.runs.store import Entry
from tests.benchmark.conftest import config


def test_an_older_run_is_repeated_with_what_was_the_default_then(monkeypatch):
    class WithOtherDefaults(RunConfig):
        head_init: Literal["random", "zero", "ncm", "ridge"] = "zero"

    monkeypatch.setattr(reproduce, "RunConfig", WithOtherDefaults)
    older = config().model_dump(mode="json")
    del older["head_init"]
    again = reproduce.config_of(Entry(config().run_id, "done", {"config": older}), ())
    assert (again.head_init, again.run_id) == ("random", config().run_id)


def test_the_largest_change_is_that_of_accuracies_with_a_value_on_both_sides():
    nan = float("nan")
    assert reproduce.largest_change({"a": 0.5, "b": nan, "c": None}, {"a": 0.25, "b": nan}) == 0.25
    assert reproduce.largest_change({"a": 0.5}, {"a": nan}) == float("inf")
    assert reproduce.largest_change({}, {"a": 0.5}) == 0


def test_the_outcome_says_whether_rounding_may_explain_the_differences():
    same = reproduce.Comparison("bench run", [], [])
    assert same.outcome == "identical numbers, bit for bit"
    near, far = (reproduce.Comparison("bench run", ["x"], [], change) for change in (0.03, 0.031))
    assert near.outcome.startswith("1 numbers differ, mean accuracies by at most 3.00 points, within the 3 that")
    assert "by at most 3.10 points, more than the 3 that" in far.outcome
