"""The figure of all methods minus one."""

import pytest
from matplotlib.text import Text

from fedprompt.results.errors import MissingDataError, RecordError
from fedprompt.results.figures.drawing import differences, draw
from fedprompt.results.records.frames import load
from tests.results.conftest import split

CORRECTED = {"metrics_prior": {"seen": split(0.7), "held_out": split(0.7)}, "temperature": 1.0}


@pytest.fixture
def six(write, runs):
    """Three methods, two settings that differ in the rounds, six seeds; b is worse than a in the first only."""
    for count, worse in ((12, 0.1), (24, 0.0)):
        for seed in range(6):
            for method, seen in (("a", 0.6), ("b", 0.6 - worse), ("c", 0.7 + 0.01 * seed)):
                write(method, 0.5, seed, seen, seen - 0.1, config={"rounds": count}, **CORRECTED)
    return runs


def words(figure):
    """All texts of the figure in one line."""
    return " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")


def marks(axis):
    """Per mark: its places, and whether it is filled."""
    found = []
    for points, _, _ in axis.containers:
        filled = points.get_markerfacecolor() == points.get_color()
        found += [(round(x, 6), round(y, 1), filled) for x, y in points.get_xydata().tolist()]
    return sorted(found, key=lambda mark: mark[1:])


def test_there_is_a_panel_per_score_a_row_per_method_and_a_mark_per_setting(six):
    figure = differences(load(six), "a")
    titles = [axis.get_title().replace("\n", " ") for axis in figure.axes]
    assert titles == ["seen clients, mean", "held-out clients, mean", "worst seen client"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["c", "b"]
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["", ""]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["digits dirichlet(0.5) rounds=12", "digits dirichlet(0.5) rounds=24"]


def test_marks_are_differences_in_points_and_filled_where_the_interval_excludes_0(six):
    axis = differences(load(six), "a").axes[0]
    # Rows downwards: c, then b; in each the setting of 12 rounds above that of 24.
    assert [mark[::2] for mark in marks(axis)] == [(12.5, True), (12.5, True), (-10, True), (0, False)]
    assert next(line.get_xdata() for line in axis.lines if line.get_linestyle() == "-") == [0, 0]


def test_methods_worse_than_the_reference_are_left_of_the_line_at_0(six):
    assert [mark[0] < 0 for mark in marks(differences(load(six), "c").axes[0])] == [True] * 4


def test_with_prior_each_method_has_rows_of_one_and_of_both_corrected(six):
    figure = differences(load(six), "a", prior=True)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["a+prior", "c", "c+prior", "both+prior", "b", "b+prior", "both+prior"]
    assert "+prior: logits / T + log of the client's class prior" in words(figure)
    assert "both+prior: the method+prior minus a+prior" in words(figure)


def test_a_long_corrected_name_keeps_its_ending(write, runs):
    for method in ("a", "a-method-with-a-very-long-name"):
        write(method, **CORRECTED)
    labels = [label.get_text() for label in differences(load(runs), "a", True, 1).axes[0].get_yticklabels()]
    assert labels == ["a+prior", "a-method-with-a...", "a-method-...+prior", "both+prior"]


def test_the_note_states_seeds_level_and_what_filled_means(six):
    shown = words(differences(load(six), "a"))
    assert "method minus a (points); mean over 6 seeds, with its 95 % bootstrap interval" in shown
    assert "filled: the 95 % interval excludes 0, not adjusted for several comparisons" in shown
    assert "untestable" not in shown


def test_three_seeds_are_untestable_and_no_mark_is_filled(write, runs):
    for seed in range(3):
        write("a", seed=seed, seen=0.5)
        write("b", seed=seed, seen=0.6 + 0.01 * seed)
    figure = differences(load(runs), "a")
    assert "mean over 3 seeds, with its 75 % bootstrap interval" in words(figure)
    assert "untestable with 3 seeds: p is at least 0.25; 6 seeds are needed" in words(figure)
    assert "filled" not in words(figure)
    assert not any(mark[2] for axis in figure.axes for mark in marks(axis))
    (handle,) = figure.legends[0].legend_handles
    assert handle.get_markerfacecolor() == "white"


def test_of_many_rows_values_far_out_are_arrows_at_the_edge(write, runs):
    for i in range(12):
        write(f"m{i:02d}", seen=0.8 + 0.005 * i)
    write("low", seen=0.1)
    figure = differences(load(runs), "m00")
    axis = figure.axes[0]
    (arrow,) = [line for line in axis.lines if line.get_marker() == 4]
    left = axis.get_xlim()[0]
    assert arrow.get_xdata()[0] == left
    assert -70 < left < 0
    assert "arrows: values beyond the axis" in words(figure)
    assert figure.data.query("method == 'low' and metric == 'seen.mean'")["value"].item() == pytest.approx(-0.7)


def test_another_metric_has_one_panel_with_its_name(six):
    (axis,) = differences(load(six), "a", metric="held_out.mean").axes
    assert axis.get_title() == "held_out.mean"


def test_without_a_reference_the_figure_is_left_out_with_a_line_or_refused_if_named(six, tmp_path):
    lines = []
    written = draw(six, out=tmp_path, log=lines.append)
    assert "differences" not in {path.stem for path in written}
    (line,) = [line for line in lines if line.startswith("differences")]
    assert line.endswith("it compares methods with one of them; name it with --reference METHOD")
    with pytest.raises(MissingDataError, match="--reference METHOD"):
        draw(six, ["differences"], tmp_path)


def test_a_reference_or_prior_without_effect_and_an_unknown_reference_are_refused(six, tmp_path):
    with pytest.raises(RecordError, match="--reference a is for the figure differences: add it to pairwise"):
        draw(six, ["pairwise"], tmp_path / "out", reference="a")
    with pytest.raises(RecordError, match="--prior adds rows to the figure differences, which needs --reference"):
        draw(six, out=tmp_path / "out", prior=True)
    with pytest.raises(RecordError, match=r"unknown method 'fedvtp': available: a, b, c$"):
        draw(six, out=tmp_path / "out", reference="fedvtp")
    assert not (tmp_path / "out").exists()


def test_the_figure_of_an_exported_folder_is_that_of_the_runs(six, tmp_path):
    (tmp_path / "export").mkdir()
    load(six).to_parquet(tmp_path / "export" / "runs.parquet")
    for source, out in ((six, "a"), (tmp_path / "export", "b")):
        draw(source, ["differences"], tmp_path / out, reference="a", prior=True)
    one, other = ((tmp_path / out / "differences.csv").read_text() for out in "ab")
    assert one == other
