import pandas as pd
import pytest

from fedprompt.results.statistics.convergence import distances


def run(method, seed, seen, alpha=0.5):
    """The rounds of one run; `seen` by evaluated round, other rounds have no score."""
    last = max(seen)
    return pd.DataFrame(
        {
            "method": method,
            "alpha": alpha,
            "seed": seed,
            "round": range(last + 1),
            "seen_mean": [seen.get(number, float("nan")) for number in range(last + 1)],
        }
    )


def test_the_distance_is_the_gain_of_the_mean_over_seeds_up_to_the_last_round():
    rounds = pd.concat(
        [
            run("fedvpt", 0, {2: 0.5, 3: 0.6, 4: 0.5, 8: 0.7, 12: 0.9}),
            run("fedvpt", 1, {2: 0.7, 3: 0.6, 4: 0.8, 8: 0.7, 12: 0.5}),
            run("head", 0, {2: 0.1, 3: 0.2, 4: 0.2, 12: 0.2}),
        ]
    )
    found = distances(rounds, 3).set_index("method")
    # fedvpt: means over seeds 0.6 (round 2), 0.6 (3), 0.65 (4), 0.7 (12)
    assert found.loc["fedvpt"].to_dict() == {
        "alpha": 0.5,
        "score": pytest.approx(0.6),
        "final": pytest.approx(0.7),
        "distance": pytest.approx(0.1),
        "one_round": pytest.approx(0.05),
    }
    assert found.loc["head", "distance"] == pytest.approx(0)
    assert found.loc["head", "one_round"] == pytest.approx(0.1)


def test_alphas_are_kept_apart():
    rounds = pd.concat(
        [run("head", 0, {2: 0.5, 3: 0.5, 4: 0.5, 12: last}, alpha) for alpha, last in ((0.05, 0.6), (0.5, 0.9))]
    )
    found = distances(rounds, 3)
    assert found["alpha"].tolist() == [0.05, 0.5]
    assert found["distance"].tolist() == pytest.approx([0.1, 0.4])
