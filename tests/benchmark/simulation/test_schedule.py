import pytest

from fedprompt.benchmark.simulation.schedule import evaluated_rounds, lr_factor


@pytest.mark.parametrize(
    ("rounds", "expected"), [(24, (18, 24)), (10, (8, 10)), (8, (6, 8)), (3, (2, 3)), (2, (1, 2)), (1, (1,))]
)
def test_without_an_interval_the_start_and_the_end_of_the_last_quarter_are_evaluated(rounds, expected):
    assert evaluated_rounds(rounds, None) == expected


def test_an_interval_counts_from_before_training_and_always_ends_with_the_last_round():
    assert evaluated_rounds(10, 4) == (0, 4, 8, 10)
    assert evaluated_rounds(8, 4) == (0, 4, 8)


def test_an_interval_of_all_rounds_or_more_leaves_the_last_one():
    assert evaluated_rounds(8, 8) == (8,)
    assert evaluated_rounds(8, 100) == (8,)


def test_listed_rounds_are_evaluated_and_the_last_one():
    assert evaluated_rounds(24, None, (23, 6)) == (6, 23, 24)
    assert evaluated_rounds(24, None, (0, 24)) == (0, 24)


def test_a_constant_rate_is_the_same_in_every_round():
    assert [lr_factor("constant", number, 3) for number in (1, 2, 3)] == [1, 1, 1]


def test_the_cosine_falls_from_one_in_the_first_round_and_would_be_zero_after_the_last():
    """cos(0), cos(60), cos(120) and cos(180 degrees) are 1, 1/2, -1/2 and -1."""
    assert [lr_factor("cosine", number, 3) for number in (1, 2, 3, 4)] == pytest.approx([1, 0.75, 0.25, 0])
