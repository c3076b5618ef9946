import pytest

from fedprompt.benchmark.simulation.evaluation.convergence import convergence
from tests import toy


def rows(seen, losses):
    """Rounds from 0 on; `seen` by round."""
    return [
        {"round": number, "train_loss": loss} | ({"seen_mean": seen[number]} if number in seen else {})
        for number, loss in enumerate([float("nan"), *losses])
    ]


def test_the_last_quarter_is_compared_with_the_evaluation_at_its_start():
    found = convergence(rows({0: 0.1, 4: 0.5, 6: 0.6, 8: 0.63}, [8, 7, 6, 5, 4, 3, 2.5, 2.5]))
    assert (found["since_round"], found["seen_change"]) == (6, pytest.approx(0.03))
    assert found["between_evaluations"] == pytest.approx((0.1 + 0.03) / 2)
    assert found["loss_change"] == pytest.approx(2.5 - 3.5)


@pytest.mark.parametrize(("evaluated", "since"), [((4, 8), 4), ((5, 7, 8), 5), ((7, 8), 7), ((3, 6, 7, 8), 6)])
def test_without_an_evaluation_there_the_nearest_one_counts(evaluated, since):
    assert convergence(rows({0: 0.1} | dict.fromkeys(evaluated, 0.5), [1.0] * 8))["since_round"] == since


def test_a_falling_accuracy_is_a_negative_change_and_a_positive_distance():
    found = convergence(rows({1: 0.5, 2: 0.7, 3: 0.6, 4: 0.5}, [1, 1, 1, 2]))
    assert found["seen_change"] == pytest.approx(-0.1)
    assert found["between_evaluations"] == pytest.approx(0.4 / 3)
    assert found["loss_change"] == 1


@pytest.mark.parametrize(
    "seen", [{8: 0.5}, {0: 0.1, 8: 0.5}, {3: 0.4, 8: 0.5}, {0: 0.1, 4: 0.2}, {4: float("nan"), 8: 0.5}]
)
def test_one_evaluation_in_the_second_half_shows_only_the_loss(seen):
    assert convergence(rows(seen, [1.0] * 8)).keys() == {"loss_change"}


def test_one_round_has_nothing_to_compare():
    assert convergence(rows({0: 0.1, 1: 0.5}, [1.0])) == {}


def test_the_numbers_of_a_run_follow_from_its_rounds():
    rounds = toy.ran("head", rounds=4).outcome.rounds
    found = convergence(rounds)
    assert found["since_round"] == 3
    assert found["seen_change"] == rounds[4]["seen_mean"] - rounds[3]["seen_mean"]
    assert found["loss_change"] == pytest.approx(rounds[4]["train_loss"] - rounds[3]["train_loss"])
