import math
from typing import Any

import pytest

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.tuning.search import axis, trials
from fedprompt.methods import registry
from fedprompt.methods.errors import MethodError


def tried(*grid: str, methods: tuple[str, ...] = ("head", "fedvpt"), draws: int | None = None, seed: int = 0) -> Any:
    recipes = [registry.create(name) for name in methods]
    found = trials([axis(text) for text in grid], recipes, draws, seed)
    return {method: [own.words for own in owns] for method, owns in found.items()}


def test_every_method_tries_every_combination_in_order() -> None:
    points = [{"lr": lr, "momentum": m} for lr in (0.1, 0.01) for m in (0.0, 0.9)]
    assert tried("lr=0.1,0.01", "momentum=0,0.9") == {"head": points, "fedvpt": points}


def test_a_method_that_trains_nothing_is_tried_once() -> None:
    found = tried("lr=0.1,0.01,0.001", methods=("fedncm", "head"))
    assert found["fedncm"] == [{}]
    assert len(found["head"]) == 3
    assert tried("lr=0.1..1", methods=("fedncm", "head"), draws=5)["fedncm"] == [{}]


def test_a_field_is_tried_with_its_own_method_alone() -> None:
    found = tried("lr=0.1,0.01,0.001", "fed3r.ridge=0.1,1", methods=("fed3r", "head"))
    assert found["fed3r"] == [{"set": ["fed3r.ridge=0.1"]}, {"set": ["fed3r.ridge=1.0"]}]
    assert found["head"] == [{"lr": 0.1}, {"lr": 0.01}, {"lr": 0.001}]


def test_a_method_with_more_trials_than_another_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fedvpt 4 trials and head 2.*--draws"):
        tried("lr=0.1,0.01", "fedvpt.tokens=1,2")
    assert len(tried("lr=0.1,0.01", "fedvpt.tokens=1,2", methods=("fedvpt",))["fedvpt"]) == 4


def test_draws_are_equally_many_and_the_shared_settings_the_same_for_every_method() -> None:
    found = tried("lr=0.001..1:log", "fedvpt.tokens=1..20", draws=6)
    assert [own["lr"] for own in found["head"]] == [own["lr"] for own in found["fedvpt"]]
    assert [sorted(own) for own in found["head"]] == [["lr"]] * 6
    tokens = [int(own["set"][0].removeprefix("fedvpt.tokens=")) for own in found["fedvpt"]]
    assert all(1 <= token <= 20 for token in tokens)
    assert len(set(tokens)) > 1


def test_draws_depend_on_their_seed_alone() -> None:
    assert tried("lr=0.001..1", draws=4, seed=3) == tried("lr=0.001..1", draws=4, seed=3)
    assert tried("lr=0.001..1", draws=4, seed=3) != tried("lr=0.001..1", draws=4, seed=4)


def test_a_logarithmic_range_is_drawn_from_evenly_by_orders_of_magnitude() -> None:
    values = axis("lr=0.0001..1:log").draws(4000, 0)
    assert min(values) >= 0.0001
    assert max(values) <= 1
    for k in range(4):  # a quarter in each of the four orders, give or take five deviations of a binomial
        share = sum(10 ** (k - 4) <= value < 10 ** (k - 3) for value in values) / 4000
        assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4000)


def test_whole_ends_draw_whole_numbers_and_both_ends() -> None:
    assert set(axis("epochs=1..3").draws(100, 0)) == {1, 2, 3}
    assert set(axis("epochs=1..3:log").draws(100, 0)) == {1, 2, 3}


def test_a_list_may_be_drawn_from() -> None:
    assert set(axis("lr=0.1,0.2").draws(50, 0)) == {0.1, 0.2}


@pytest.mark.parametrize(
    ("grid", "draws", "words"),
    [
        (["lr"], None, "NAME=A,B,C"),
        (["lr="], None, "NAME=A,B,C"),
        (["lr=0"], None, "--grid lr=0"),
        (["lr=0.1,many"], None, "--grid lr=many"),
        (["rounds=1,2"], None, "what can be tuned is epochs, batch-size, lr"),
        (["lr=0.1..1"], None, "--draws"),
        (["lr=1..0.1"], 3, "from a lower number to a higher"),
        (["momentum=0..0.9:log"], 3, "above 0"),
        (["fedper.tokens=1,2"], None, "fedper is not among the methods"),
        (["fedvpt.tokens=0,1"], None, "out of range"),
        (["fedvpt.token=0,1"], None, "did you mean 'tokens'"),
        (["lr=0.1", "lr=0.2"], None, "twice"),
    ],
)
def test_a_slip_is_named(grid: list[str], draws: int | None, words: str) -> None:
    with pytest.raises((ConfigError, MethodError)) as raised:
        tried(*grid, draws=draws)
    assert words in str(raised.value)
