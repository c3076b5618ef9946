import pandas as pd
import pytest

from fedprompt.results.statistics.convergence import distances


def run(method, seed, seen, alpha=0.5):
    """The rounds of one run; `seen` by evaluated round, other rounds have no score."""
    last = max(seen)
    return pd.DataFrame(
        {
            "run_id": f"{method}-{seed}-{alpha}-{last}",
            "method": method,
            "alpha": alpha,
            "seed": seed,
            "round": range(last + 1),
            "seen_mean": [seen.get(number, float("nan")) for number in range(last + 1)],
        }
    )


def test_the_distance_is_the_gain_of_the_mean_over_seeds_by_more_rounds():
    rounds = pd.concat(
        [
            run("fedvpt", 0, {1: 0.1, 2: 0.6, 3: 0.5}),
            run("fedvpt", 1, {1: 0.2, 2: 0.8, 3: 0.8}),
            run("fedvpt", 0, {2: 0.3, 3: 0.4, 12: 0.9}),
            run("fedvpt", 1, {2: 0.3, 3: 0.4, 12: 0.5}),
            run("head", 0, {2: 0.1, 3: 0.2}),
            run("head", 0, {12: 0.15}),
        ]
    )
    found = distances(rounds, 3).set_index("method")
    # fedvpt: means over seeds 0.7 (round 2), 0.65 (3); 0.7 after 12 rounds
    assert found.loc["fedvpt"].to_dict() == {
        "alpha": 0.5,
        "score": pytest.approx(0.65),
        "final": pytest.approx(0.7),
        "distance": pytest.approx(0.05),
        "one_round": pytest.approx(0.05),
        "seeds": 2,
    }
    assert found.loc["head", "distance"] == pytest.approx(-0.05)
    assert found.loc["head", "one_round"] == pytest.approx(0.1)


def test_seeds_and_methods_without_a_run_of_either_length_are_left_out():
    rounds = pd.concat(
        [
            run("head", 0, {2: 0.5, 3: 0.5}),
            run("head", 0, {12: 0.6}),
            run("head", 1, {2: 0.9, 3: 0.9}),
            run("fedvpt", 0, {12: 0.9}),
            run("fedlora", 0, {2: 0.9, 3: 0.9}),
        ]
    )
    (found,) = distances(rounds, 3).to_dict("records")
    assert found["method"] == "head"
    assert (found["score"], found["distance"]) == pytest.approx((0.5, 0.1))


def test_alphas_are_kept_apart():
    rounds = pd.concat(
        [
            part
            for alpha, last in ((0.05, 0.6), (0.5, 0.9))
            for part in (run("head", 0, {2: 0.5, 3: 0.5}, alpha), run("head", 0, {12: last}, alpha))
        ]
    )
    found = distances(rounds, 3)
    assert found["alpha"].tolist() == [0.05, 0.5]
    assert found["distance"].tolist() == pytest.approx([0.1, 0.4])


def test_the_change_by_one_round_is_that_of_the_seeds_evaluated_before_it():
    rounds = pd.concat(
        [
            run("head", 0, {2: 0.5, 3: 0.6}),
            run("head", 1, {3: 0.9}),
            run("head", 0, {12: 0.6}),
            run("head", 1, {12: 0.9}),
        ]
    )
    (found,) = distances(rounds, 3).to_dict("records")
    assert found["one_round"] == pytest.approx(0.1)  # not (0.6 + 0.9) / 2 - 0.5
    assert found["seeds"] == 2
