import re
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from fedprompt.results.errors import RecordError
from fedprompt.results.figures.drawing import (
    FIGURES,
    accuracy_by_alpha,
    accuracy_by_bytes,
    accuracy_over_rounds,
    draw,
    pairwise,
    partition,
    per_client,
    seen_and_held_out,
    soft_weights,
)
from fedprompt.results.figures.method_styles import assign
from fedprompt.results.figures.pages import DEFAULT, STYLES
from fedprompt.results.records import files
from fedprompt.results.records.frames import clients, load, rounds, swept, tables

# The figures that any finished runs have the data of.
DRAWN = (
    *("accuracy_by_alpha", "accuracy_over_rounds", "seen_and_held_out"),
    *("accuracy_by_bytes", "per_client", "partition", "pairwise"),
)


@pytest.fixture
def grid(write, runs):
    """Two methods, two alphas and iid, two seeds; seed 1 is 0.2 better."""
    for method, base in (("a", 0.3), ("b", 0.5)):
        for alpha in (0.5, 0.05, None):
            for seed in range(2):
                write(method, alpha, seed, base + 0.2 * seed)
    return runs


def named(axis, method):
    """The line or error bars of a method in one panel."""
    (found,) = [artist for artist in (*axis.lines, *axis.containers) if artist.get_label() == method]
    return found


def test_accuracy_by_alpha_has_one_point_per_method_and_alpha_with_iid_last(grid):
    figure = accuracy_by_alpha(load(grid))
    (axis,) = figure.axes
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0.05", "0.5", "iid"]
    points, _, (bars,) = named(axis, "a")
    assert sorted(np.round(points.get_xdata()).tolist()) == [0, 1, 2]
    assert points.get_ydata() == pytest.approx([40, 40, 40])
    low, high = bars.get_segments()[0][:, 1]
    assert low == high  # two seeds have no interval


@pytest.mark.parametrize("count", [3, 12])
def test_the_bars_of_three_seeds_span_the_range_and_the_figure_explains_them(write, runs, count):
    for seed, seen in enumerate((0.3, 0.4, 0.8)):
        for method in range(count):
            write(f"m{method}", seed=seed, seen=seen)
    figure = accuracy_by_alpha(load(runs))
    _, _, (bars,) = named(figure.axes[0], "m1")
    (ends,) = bars.get_segments()
    # Student's factor at two degrees of freedom leaves only the first and the last percentile of the 27 resamples.
    assert sorted(ends.ravel())[-2:] == pytest.approx([30, 80])
    note = "mean over 3 seeds, with its 75 % bootstrap interval"
    assert any(note in text.get_text() for text in figure.findobj(Text))
    assert figure.data[["low", "high", "level"]].iloc[0].tolist() == pytest.approx([0.3, 0.8, 0.75])


def test_accuracy_by_alpha_has_one_panel_per_group_of_settings(write, runs):
    write(config={"rounds": 2})
    write(config={"rounds": 9})
    figure = accuracy_by_alpha(load(runs))
    assert [axis.get_title() for axis in figure.axes] == ["digits rounds=2", "digits rounds=9"]


def test_accuracy_over_rounds_averages_seeds_and_skips_unevaluated_rounds(grid):
    figure = accuracy_over_rounds(rounds(grid))
    titles = [f"digits {partition}" for partition in ("dirichlet(0.05)", "dirichlet(0.5)", "iid")]
    assert [axis.get_title() for axis in figure.axes] == titles
    for axis in figure.axes:
        line = named(axis, "b")
        assert list(line.get_xdata()) == [0, 2]
        assert line.get_ydata() == pytest.approx([10, 60])
        assert not axis.collections  # two seeds have no band


def test_the_band_of_a_curve_is_its_interval_at_every_evaluated_round(write, runs):
    for seed, seen in enumerate((0.3, 0.4, 0.8)):
        write("a", seed=seed, seen=seen)
    (band,) = accuracy_over_rounds(rounds(runs)).axes[0].collections
    corners = {tuple(np.round(corner, 6)) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(0, 10), (2, 30), (2, 80)}


def test_per_client_sorts_the_seen_clients_and_omits_those_without_test_samples(grid):
    figure = per_client(clients(grid))
    line = named(figure.axes[0], "a")
    assert line.get_ydata() == pytest.approx([25, 25, 75, 75])  # two seeds of accuracies .75, .25; client 2 has no test
    assert line.get_xdata() == pytest.approx([12.5, 37.5, 62.5, 87.5])


def test_partition_shows_counts_by_class_and_client_and_marks_the_held_out(grid):
    figure = partition(clients(grid))
    axis = figure.axes[0]
    (image,) = axis.images
    assert image.get_array().filled(0).tolist() == [[4, 1, 0, 1], [0, 2, 0, 0], [0, 0, 5, 1]]
    assert [text.get_text() for text in axis.texts] == ["held-out"]
    assert len(figure.data) == 3 * 6  # settings x pairs of client and class
    assert set(figure.data["seed"]) == {0}


def test_a_single_panel_has_no_title(write, runs):
    write()
    assert accuracy_over_rounds(rounds(runs)).axes[0].get_title() == ""


def test_draw_writes_every_figure_and_its_numbers(grid, tmp_path):
    written = draw(grid, out=tmp_path / "out")
    names = {f"{name}.{kind}" for name in DRAWN for kind in ("png", "csv")}
    assert {path.name for path in written} == names == {path.name for path in (tmp_path / "out").iterdir()}
    assert all(path.stat().st_size for path in written)
    points = pd.read_csv(tmp_path / "out" / "accuracy_by_alpha.csv")
    assert len(points) == 2 * 3
    assert points["mean"].tolist() == pytest.approx([0.4, 0.6] * 3)


def test_a_figure_is_written_in_several_formats_and_a_pdf_contains_its_fonts(grid, tmp_path):
    written = draw(grid, ["accuracy_by_alpha"], tmp_path, formats=("png", "pdf", "svg"))
    assert {path.name for path in written} == {f"accuracy_by_alpha.{kind}" for kind in ("png", "pdf", "svg", "csv")}
    assert b"/FontFile2" in (tmp_path / "accuracy_by_alpha.pdf").read_bytes()


def test_figures_inside_the_runs_directory_are_not_read_as_runs(grid):
    (figure, numbers) = draw(grid, ["partition"])
    assert (figure, numbers) == (grid / "figures" / "partition.png", grid / "figures" / "partition.csv")
    assert len(load(grid)) == 12


def test_draw_shows_only_the_selected_runs(grid, tmp_path):
    draw(grid, ["accuracy_by_alpha"], tmp_path, run_ids=iter(["r000"]))
    assert len(pd.read_csv(tmp_path / "accuracy_by_alpha.csv")) == 1


def test_an_unknown_figure_or_format_is_an_error_with_the_nearest_name(grid, tmp_path):
    with pytest.raises(RecordError, match=r"unknown figure 'partitions': did you mean 'partition'\?"):
        draw(grid, ["per_client", "partitions"], tmp_path / "out")
    with pytest.raises(RecordError, match=r"unknown figure format 'pgn': did you mean 'png'\?"):
        draw(grid, formats=("pgn",), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_write_keeps_the_old_figure_and_leaves_no_temporary_file(grid, monkeypatch):
    old = draw(grid, ["partition"])[0].read_bytes()

    def fail(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("fedprompt.results.figures.style.Plot.savefig", fail)
    with pytest.raises(RecordError, match="figures cannot be written: disk full; choose another"):
        draw(grid, ["partition"])
    assert (grid / "figures" / "partition.png").read_bytes() == old
    assert {path.name for path in (grid / "figures").iterdir()} == {"partition.png", "partition.csv"}


@pytest.mark.parametrize("name", DRAWN)
def test_without_finished_runs_every_figure_is_an_error(write, runs, name):
    write(error="stopped")
    with pytest.raises(RecordError, match="finished"):
        draw(runs, [name])


def test_a_method_looks_the_same_in_every_figure_even_if_another_failed(write, runs):
    write("a", error="stopped")
    write("b")
    styles = assign(load(runs)["method"])
    line = named(accuracy_over_rounds(rounds(runs), styles).axes[0], "b")
    points = named(accuracy_by_alpha(load(runs)).axes[0], "b")[0]
    assert (line.get_color(), line.get_marker()) == (points.get_color(), points.get_marker()) == styles["b"][:2]


@pytest.mark.parametrize(
    ("figure_of", "read"),
    [(accuracy_by_alpha, load), (accuracy_over_rounds, rounds), (seen_and_held_out, load), (accuracy_by_bytes, load)],
)
@pytest.mark.parametrize("columns", [1, 2])
def test_thirty_methods_are_all_named_within_the_figure(write, runs, columns, figure_of, read):
    names = [f"method-{i:02d}" for i in range(30)]
    for i, name in enumerate(names):
        write(name, seen=0.3 + 0.01 * i)
    figure = figure_of(read(runs), columns=columns)
    figure.draw_without_rendering()
    labels = [text for text in figure.findobj(Text) if text.get_text().startswith("method-")]
    assert {text.get_text() for text in labels} == set(names)
    boxes = np.array([text.get_window_extent().extents for text in labels])
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (figure.bbox.x1, figure.bbox.y1)).all()
    assert figure.get_figwidth() == DEFAULT[columns]


@pytest.mark.parametrize(("figure_of", "read"), [(accuracy_over_rounds, rounds), (per_client, clients)])
def test_of_thirty_lines_in_many_settings_the_best_are_named_and_the_others_counted(write, runs, figure_of, read):
    for alpha in range(1, 6):  # too many settings for small multiples by family
        for i in range(30):
            write(f"method-{i:02d}", float(alpha), seen=0.5 + 0.0001 * i)
    (legend,) = figure_of(read(runs)).legends
    assert [text.get_text() for text in legend.get_texts()][-1] == "24 others"


def test_seen_and_held_out_omits_a_method_without_held_out_accuracy(write, runs):
    write("a", seen=0.6, held_out=0.3)
    write("b", held_out=None)
    figure = seen_and_held_out(load(runs))
    line = named(figure.axes[0], "a")
    assert (line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx((60, 30))
    assert list(figure.data["method"]) == ["a"]


def test_accuracy_by_bytes_marks_the_pareto_front(write, runs):
    for method, seen, megabytes in (("local", 0.2, 0), ("cheap", 0.5, 1), ("waste", 0.4, 2), ("best", 0.9, 30)):
        write(method, seen=seen, communication={"upload_bytes": megabytes * 10**6, "download_bytes": 0})
    data = accuracy_by_bytes(load(runs)).data.set_index("method")
    assert data["upload_mb"].to_dict() == {"local": 0, "cheap": 1, "waste": 2, "best": 30}
    assert data["on_front"].to_dict() == {"local": True, "cheap": True, "waste": False, "best": True}


def test_an_ablation_orders_the_values_with_the_default_last(write, runs):
    for layer, seen in ((None, 0.7), (3, 0.5), (11, 0.6)):
        for seed in range(2):
            write("pep-fedpt", 0.05, seed, seen + 0.02 * seed, config={"settings": {"pep-fedpt": {"layer": layer}}})
    write("fedvpt")
    figure = FIGURES["ablation_layer"](partial(swept, runs))
    axis = figure.axes[0]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["3", "11", "default"]
    assert named(axis, "pep-fedpt")[0].get_ydata() == pytest.approx([51, 61, 71])
    assert set(figure.data["method"]) == {"pep-fedpt"}


def test_variants_of_the_mixing_rule_are_one_method_in_its_ablation(write, runs):
    for name, rule in (("pep-fedpt", "posterior"), ("pep-fedpt:prior", "prior")):
        write(name, config={"settings": {"pep-fedpt": {"mixing": rule, "similarity": "centred-cosine"}}})
    cosine = {"mixing": "prior", "similarity": "cosine"}
    write("pep-fedpt:cosine", config={"settings": {"pep-fedpt": cosine}})
    data = FIGURES["ablation_mixing"](partial(swept, runs)).data
    assert data["value"].tolist() == ["posterior", "prior"]
    assert data["method"].tolist() == ["pep-fedpt"] * 2


def test_a_settings_name_omits_participation_in_its_ablation(write, runs):
    for share in (0.05, 0.5):
        write("fedvpt", config={"participation": share})
    data = FIGURES["ablation_participation"](partial(swept, runs)).data
    assert data["setting"].tolist() == ["digits dirichlet(0.05)"] * 2
    assert data["value"].tolist() == ["0.05", "0.5"]


def test_soft_weights_are_averaged_over_seeds_and_a_class_without_test_samples_is_blank(write, runs):
    write("pep-fedpt", seed=0, by_class={"mix_weights": [[1.0, 0.0], [None, None]]})
    write("pep-fedpt", seed=1, by_class={"mix_weights": [[0.5, 0.5], [None, None]]})
    figure = soft_weights(tables(runs))
    (image,) = figure.axes[0].images
    assert image.get_array()[0].tolist() == [0.75, 0.25]
    assert figure.data["weight"].tolist() == [0.75, 0.25]


def test_a_figure_without_data_is_omitted_with_a_message_and_is_an_error_by_name(grid):
    lines = []
    written = draw(grid, log=lines.append)
    assert "soft_weights" not in {path.stem for path in written}
    assert [line.partition(":")[0] for line in lines if "soft" in line] == ["soft_weights is not drawn"]
    with pytest.raises(RecordError, match="mix_weights"):
        draw(grid, ["soft_weights"])


def test_each_record_is_read_once_and_class_counts_once_per_setting(write, runs, monkeypatch):
    for seed in range(3):
        write("fedvpt", seed=seed)
    read = []
    for name in ("read_record", "read_unchecked"):
        real = getattr(files, name)
        spy = lambda path, *rest, real=real: read.append((path.name, *rest)) or real(path, *rest)  # noqa: E731
        monkeypatch.setattr(files, name, spy)
    draw(runs)
    assert sum(name == "result.json" for name, *_ in read) == 3
    assert sum(name == "rounds.parquet" for name, *_ in read) == 3
    columns = [arguments[0] for name, *arguments in read if name == "clients.parquet"]
    assert sum(wanted is None or "class_counts" in wanted for wanted in columns) == 1
    assert len(columns) == 4


def test_a_page_has_one_or_two_columns(grid):
    with pytest.raises(RecordError, match="use 1 or 2"):
        draw(grid, columns=3)


def test_a_long_name_is_shortened_and_leaves_room_for_the_lines(write, runs):
    for alpha in (0.05, 0.5):
        for i in range(12):
            write("a-method-with-a-very-long-name-" * 3 + str(i), alpha)
    figure = accuracy_over_rounds(rounds(runs))
    figure.draw_without_rendering()
    names = [text.get_text() for axis in figure.axes if axis.get_legend() for text in axis.get_legend().get_texts()]
    assert len(names) == 12
    assert max(len(name) for name in names) == 26
    assert figure.axes[0].get_window_extent().width > figure.bbox.width / 6


def test_figures_have_the_widths_of_the_style(grid, tmp_path):
    for style, columns in product(STYLES, (1, 2)):
        (path, _) = draw(grid, ["partition"], tmp_path, formats=("svg",), style=style, columns=columns)
        width = float(re.search(r'<svg [^>]*width="([0-9.]+)pt"', path.read_text()).group(1))
        assert width == pytest.approx(72 * STYLES[style][columns], abs=0.01)


def test_an_unknown_style_is_an_error_with_the_known_ones(grid, tmp_path):
    with pytest.raises(RecordError, match=r"unknown style 'neurip': did you mean 'neurips'\? available: cvpr, icml"):
        draw(grid, out=tmp_path / "out", style="neurip")
    assert not (tmp_path / "out").exists()


def test_figures_of_exported_runs_are_those_of_the_runs(grid, tmp_path):
    for what, frame in (("runs", load(grid)), ("rounds", rounds(grid)), ("clients", clients(grid))):
        (tmp_path / "export").mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / "export" / f"{what}.parquet")
    written = draw(tmp_path / "export", out=tmp_path / "b")
    draw(grid, out=tmp_path / "a")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "a").iterdir()}
    for name in DRAWN:
        assert (tmp_path / "a" / f"{name}.csv").read_text() == (tmp_path / "b" / f"{name}.csv").read_text()


def test_a_figure_is_omitted_where_the_export_lacks_its_file(grid, tmp_path):
    (tmp_path / "export").mkdir()
    load(grid).to_parquet(tmp_path / "export" / "runs.parquet")
    lines = []
    written = draw(tmp_path / "export", out=tmp_path / "out", log=lines.append)
    assert "accuracy_by_alpha" in {path.stem for path in written}
    assert any(line.startswith("partition is not drawn") and "clients.parquet does not exist" in line for line in lines)


def test_zero_is_white_in_heat_maps_and_more_is_darker(grid):
    image = partition(clients(grid)).axes[0].images[0]
    shades = image.cmap(np.linspace(0, 1, 20))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(shades) < 0).all()
    assert shades[0] < 0.9  # one sample is not white
    assert image.cmap.get_bad()[3] == 0  # no sample is: the paper shows through
    pairs = pairwise(load(grid)).axes[0].images[0]
    assert pairs.cmap(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.04)
    assert pairs.cmap.get_bad()[0] == pytest.approx(0.8)  # the diagonal, which is not zero


def test_the_partition_names_its_seed_and_setting(write, runs):
    for seed in (3, 4):
        write(seed=seed)
    assert partition(clients(runs)).axes[0].get_title().split() == ["digits", "dirichlet(0.05),", "seed", "3"]
