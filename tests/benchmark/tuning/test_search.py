import math

import pytest

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.tuning.search import make_trials, parse_axis
from fedprompt.methods import registry
from fedprompt.methods.errors import MethodError


def tried(*grid, methods=("head", "fedvpt"), draws=None, seed=0):
    recipes = [registry.create(name) for name in methods]
    trials = make_trials([parse_axis(text) for text in grid], recipes, draws, seed)
    return {method: [overrides.to_preset() for overrides in tried] for method, tried in trials.items()}


def test_every_method_tries_every_combination_in_order():
    points = [{"lr": lr, "momentum": m} for lr in (0.1, 0.01) for m in (0.0, 0.9)]
    assert tried("lr=0.1,0.01", "momentum=0,0.9") == {"head": points, "fedvpt": points}


def test_method_that_trains_nothing_has_one_trial():
    found = tried("lr=0.1,0.01,0.001", methods=("fedncm", "head"))
    assert found["fedncm"] == [{}]
    assert len(found["head"]) == 3
    assert tried("lr=0.1..1", methods=("fedncm", "head"), draws=5)["fedncm"] == [{}]


def test_field_is_varied_only_for_its_method():
    found = tried("lr=0.1,0.01,0.001", "fed3r.ridge=0.1,1", methods=("fed3r", "head"))
    assert found["fed3r"] == [{"set": ["fed3r.ridge=0.1"]}, {"set": ["fed3r.ridge=1.0"]}]
    assert found["head"] == [{"lr": 0.1}, {"lr": 0.01}, {"lr": 0.001}]


def test_unequal_numbers_of_trials_are_refused():
    with pytest.raises(ConfigError, match=r"fedvpt 4 trials and head 2.*--draws"):
        tried("lr=0.1,0.01", "fedvpt.tokens=1,2")
    assert len(tried("lr=0.1,0.01", "fedvpt.tokens=1,2", methods=("fedvpt",))["fedvpt"]) == 4


def test_every_method_has_the_same_draws_of_shared_options():
    found = tried("lr=0.001..1:log", "fedvpt.tokens=1..20", draws=6)
    assert [own["lr"] for own in found["head"]] == [own["lr"] for own in found["fedvpt"]]
    assert [sorted(own) for own in found["head"]] == [["lr"]] * 6
    tokens = [int(own["set"][0].removeprefix("fedvpt.tokens=")) for own in found["fedvpt"]]
    assert all(1 <= token <= 20 for token in tokens)
    assert len(set(tokens)) > 1


def test_draws_depend_only_on_their_seed():
    assert tried("lr=0.001..1", draws=4, seed=3) == tried("lr=0.001..1", draws=4, seed=3)
    assert tried("lr=0.001..1", draws=4, seed=3) != tried("lr=0.001..1", draws=4, seed=4)


def test_logarithmic_draws_are_uniform_over_orders_of_magnitude():
    values = parse_axis("lr=0.0001..1:log").draws(4000, 0)
    assert min(values) >= 0.0001
    assert max(values) <= 1
    for k in range(4):  # a quarter in each order, within five standard deviations
        share = sum(10 ** (k - 4) <= value < 10 ** (k - 3) for value in values) / 4000
        assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4000)


def test_integer_range_gives_integers_including_both_ends():
    assert set(parse_axis("epochs=1..3").draws(100, 0)) == {1, 2, 3}
    assert set(parse_axis("epochs=1..3:log").draws(100, 0)) == {1, 2, 3}


def test_values_can_be_drawn_from_a_list():
    assert set(parse_axis("lr=0.1,0.2").draws(50, 0)) == {0.1, 0.2}


@pytest.mark.parametrize(
    ("grid", "draws", "words"),
    [
        (["lr"], None, "NAME=A,B,C"),
        (["lr="], None, "NAME=A,B,C"),
        (["lr=0"], None, "--grid lr=0"),
        (["lr=0.1,many"], None, "--grid lr=many"),
        (["rounds=1,2"], None, "cannot be tuned; available: epochs, batch-size, lr"),
        (["lr=0.1..1"], None, "--draws"),
        (["lr=1..0.1"], 3, "from a lower to a higher"),
        (["momentum=0..0.9:log"], 3, "above 0"),
        (["fedper.tokens=1,2"], None, "fedper is not among the methods"),
        (["fedvpt.tokens=0,1"], None, "out of range"),
        (["fedvpt.token=0,1"], None, "did you mean 'tokens'"),
        (["lr=0.1", "lr=0.2"], None, "twice"),
    ],
)
def test_invalid_grid_is_refused(grid, draws, words):
    with pytest.raises((ConfigError, MethodError)) as raised:
        tried(*grid, draws=draws)
    assert words in str(raised.value)
