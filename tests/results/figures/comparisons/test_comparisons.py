"""The figures that compare methods: the critical difference diagram and the pairwise matrix."""

import pytest

from fedprompt.results.figures.drawing import critical_difference, draw, pairwise
from fedprompt.results.records.frames import load


def test_the_critical_difference_diagram_ranks_methods_over_five_settings(write, runs):
    for alpha, best in ((0.05, "a"), (0.5, "a"), (1.0, "a"), (5.0, "b"), (None, "b")):
        for method in ("a", "b", "c"):
            write(method, alpha, seen=0.9 if method == best else 0.3 if method == "c" else 0.5)
    figure = critical_difference(load(runs))
    assert figure.data[["method", "other", "rank", "other_rank"]].to_numpy().tolist() == [
        ["a", "b", pytest.approx(1.4), pytest.approx(1.6)],
        ["a", "c", pytest.approx(1.4), 3],
        ["b", "c", pytest.approx(1.6), 3],
    ]
    label = figure.axes[0].get_xlabel().replace("\n", " ")
    assert "over 5 settings" in label
    assert "untestable with 5 settings" in label  # 2 / 2^5 > .05


def test_a_critical_difference_diagram_of_four_settings_is_not_drawn_and_a_line_says_why(write, runs):
    for alpha in (0.05, 0.5, 1.0, 5.0):
        for method in ("a", "b"):
            write(method, alpha)
    lines = []
    draw(runs, log=lines.append)
    (line,) = [line for line in lines if line.startswith("critical_difference")]
    assert line == (
        "critical_difference is not drawn: ranks over 4 settings separate no methods; they need two methods in each of "
        "5 settings or more; see the figure pairwise"
    )


def test_the_pairwise_matrix_shows_difference_pairs_won_and_adjusted_p(write, runs):
    for alpha in (0.05, 0.5):
        for seed in range(6):
            write("a", alpha, seed, 0.6)
            write("b", alpha, seed, 0.5 if seed else 0.6)
            write("c", alpha, seed, 0.3)
    figure = pairwise(load(runs))
    found = figure.data.set_index(["method", "other"])
    assert found.loc[("a", "b"), ["difference", "won", "pairs"]].tolist() == pytest.approx([50 / 6, 11, 12])
    assert found.loc[("b", "a"), ["difference", "won", "pairs"]].tolist() == pytest.approx([-50 / 6, 1, 12])
    assert found.loc[("a", "c"), "p_adjusted"] == found.loc[("c", "a"), "p_adjusted"] == 2 / 2**6
    cells = {text.get_position(): (text.get_text(), text.get_weight()) for text in figure.axes[0].texts}
    assert cells[2, 0] == ("+30.0\n12/12\np 0.031", "bold")  # row a, column c
    assert cells[1, 0][1] == "normal"  # without seed 0 five flips remain: p = 2 / 2^5
    assert "max-T over 9 comparisons" in figure.axes[0].get_xlabel().replace("\n", " ")


def test_the_pairwise_matrix_of_three_seeds_says_that_they_are_untestable(write, runs):
    for seed in range(3):
        write("a", seed=seed, seen=0.6)
        write("b", seed=seed, seen=0.5)
    assert "untestable with 3 seeds" in pairwise(load(runs)).axes[0].get_xlabel().replace("\n", " ")
