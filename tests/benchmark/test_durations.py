import pytest

from fedprompt.benchmark.durations import span


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (20, 50, "20 to 50 s"),
        (660, 780, "11 to 13 min"),
        (119, 119.9, "119 to 120 s"),
        (300, 310, "about 5 min"),
        (3600, 3 * 3600, "1 to 3 h"),
        (4 * 86400, 6 * 86400, "4 to 6 days"),
        (0, 0.2, "about 0 s"),
        (1.9 * 86400, 2.1 * 86400, "about 2 days"),
    ],
)
def test_a_range_has_one_unit_that_its_end_has_two_of(low, high, text):
    assert span(low, high) == text
