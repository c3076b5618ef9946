"""The table and the picture of a throughput."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from fedprompt.benchmark.profiling.throughput import Cell, Throughput
from fedprompt.benchmark.profiling.throughput_plots import draw, table


def made() -> Throughput:
    found = Throughput("vit", "fp32", "cpu", 2, {"processor": "one"})
    found.bare, found.bare_all, found.timm = {8: 100.0, 16: 200.0}, {8: 150.0, 16: 400.0}, {8: 80.0, 16: 100.0}
    found.cells = [Cell("sequential", 8, 1, 90.0), Cell("sequential", 16, 1, 300.0)]
    found.ratios = {"sequential_to_bare": {8: 0.9, 16: 1.5}, "savings_over_timm": {8: 1.25, 16: 2.0}}
    found.ratios["evaluation_to_bare"] = 0.95
    found.evaluation, found.bound = 1234.5, 2000.0
    return found


def test_the_table_shows_rates_and_their_share_of_the_limit() -> None:
    lines = table(made()).splitlines()
    assert "(400)" in lines[0]
    assert "| 8 | 100 | 150 | 80 | 90 (0.23) |" in lines  # 90 of the best bare loop's 400
    assert "| 16 | 200 | 400 | 100 | 300 (0.75) |" in lines
    assert "- our layers over timm's own forward from the pixels on, by batch: 8: 1.25, 16: 2.00" in lines


def test_the_picture_is_an_image_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    draw(made(), tmp_path / "deep" / "perf.png")
    with Image.open(tmp_path / "deep" / "perf.png") as image:
        assert image.width > image.height > 100
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["perf.png"]


def test_every_panel_is_high_enough_for_the_fastest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heights: list[float] = []
    found = made()
    found.cells.append(Cell("threaded", 8, 1, 900.0))
    monkeypatch.setattr(Figure, "savefig", lambda self, path, format: (keep(self), Path(path).touch()))

    def keep(figure: Figure) -> None:
        heights.extend(axis.get_ylim()[1] for axis in figure.axes)

    draw(found, tmp_path / "perf.png")
    assert len(heights) == 2
    assert min(heights) > 900
