"""The table and the figure of a throughput."""

from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from fedprompt.benchmark.profiling.throughput import ExecutorRate, Throughput
from fedprompt.benchmark.profiling.throughput_plots import draw, table


def example():
    result = Throughput("vit", "fp32", "cpu", 2, {"processor": "one"})
    result.bare, result.bare_all, result.timm = {8: 100.0, 16: 200.0}, {8: 150.0, 16: 400.0}, {8: 80.0, 16: 100.0}
    result.cells = [ExecutorRate("sequential", 8, 1, 90.0), ExecutorRate("sequential", 16, 1, 300.0)]
    result.ratios = {"sequential_to_bare": {8: 0.9, 16: 1.5}, "savings_over_timm": {8: 1.25, 16: 2.0}}
    result.ratios["evaluation_to_bare"] = 0.95
    result.evaluation, result.bound = 1234.5, 2000.0
    return result


def test_the_table_shows_rates_and_their_share_of_the_limit():
    lines = table(example()).splitlines()
    assert "(400)" in lines[0]
    assert "| 8 | 100 | 150 | 80 | 90 (0.23) |" in lines  # 90 of 400, the fastest bare loop
    assert "| 16 | 200 | 400 | 100 | 300 (0.75) |" in lines
    assert "- bare loop relative to timm's forward pass, by batch size: 8: 1.25, 16: 2.00" in lines


def test_the_figure_is_the_only_file_written(tmp_path):
    draw(example(), tmp_path / "deep" / "perf.png")
    with Image.open(tmp_path / "deep" / "perf.png") as image:
        assert image.width > image.height > 100
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["perf.png"]


def test_every_panel_has_room_for_the_highest_rate(tmp_path, monkeypatch):
    heights: list[float] = []
    result = example()
    result.cells.append(ExecutorRate("threaded", 8, 1, 900.0))
    monkeypatch.setattr(Figure, "savefig", lambda self, path, format: (record(self), Path(path).touch()))

    def record(figure):
        heights.extend(axis.get_ylim()[1] for axis in figure.axes)

    draw(result, tmp_path / "perf.png")
    assert len(heights) == 2
    assert min(heights) > 900
