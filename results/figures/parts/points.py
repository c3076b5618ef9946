"""Point charts with labels that do not overlap."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from fedprompt.results.figures.method_styles import CROWD, Styles, highlighted
from fedprompt.results.figures.parts.panels import brief
from fedprompt.results.figures.style import SMALL, Plot
from fedprompt.results.statistics import convergence
from fedprompt.results.statistics.convergence import CLIMBING
from fedprompt.results.statistics.trivial import BELOW, FOOTNOTE

LETTER, LINE, MARK = (
    0.62 * SMALL,
    1.25 * SMALL,
    5.0,
)  # in points: width of a letter, height of a label, size of a marker
SIDES = ((1, 0), (-1, 0), (0.6, 1), (-0.6, 1), (0.6, -1), (-0.6, -1), (1, 0.5), (-1, 0.5), (1, -0.5), (-1, -0.5))
# Candidate offsets from a point to the near end of its label, in points, nearest first.
OFFSETS = [(reach * x, reach * y) for reach in (6, 11, 17, 25, 34, 43, 52, 62, 74, 88) for x, y in SIDES]
COVERED, OUTSIDE = 1e3, 1e6  # the costs of a label over another and of one that leaves the panel
Boxes = NDArray[np.float64]  # [n, 4] in points of the panel: left, bottom, right, top


def points(axis: Axes, data: pd.DataFrame, methods: Sequence[str], styles: Styles) -> None:
    """Draw a marker per row of `data` at its `x` and `y`.

    Rows with `below_majority` or `climbing` get an arrow.
    """
    named = highlighted(methods)
    for method in sorted(methods, key=lambda name: name not in named)[::-1]:  # highlighted and best on top
        rows = data[data["method"] == method]
        look = styles[method].keywords(lines=False) | ({} if method in named else {"markersize": 3, "alpha": 0.7})
        axis.plot(rows["x"], rows["y"], label=method, **look)
    arrows(axis, data["x"], data["y"], data)
    if len(methods) > CROWD:
        axis.margins(0.08)


def label(figure: Plot, panels: Sequence[tuple[Axes, pd.DataFrame]], methods: Sequence[str], styles: Styles) -> None:
    """Name the highlighted ones of many points. Call this last: it needs the final size and limits of the panels."""
    if len(methods) > CROWD:
        figure.draw_without_rendering()
        for axis, data in panels:
            _names(axis, data.dropna(subset=["x", "y"]), highlighted(methods), styles)


def arrows(axis: Axes, x: ArrayLike, y: ArrayLike, data: pd.DataFrame) -> None:
    """Mark rows with `below_majority` or `climbing` by arrows right of their points."""
    places = zip(np.asarray(x, float), np.asarray(y, float), strict=True)
    flags = zip(data["below_majority"].eq(True), data["climbing"].eq(True), strict=True)
    for place, (below, climbing) in zip(places, flags, strict=True):
        if below or climbing:
            text = BELOW * below + CLIMBING * climbing
            axis.annotate(text, place, (2.5, 0), textcoords="offset points", fontsize=SMALL, va="center")


def footnote(data: pd.DataFrame, note: str = "", width: int = 110, meaning: str = FOOTNOTE) -> str:
    """The note of a figure, with the meaning of the arrows if there are any."""
    meanings = {meaning: data["below_majority"], convergence.FOOTNOTE: data["climbing"]}
    return "\n".join([note] * bool(note) + [fill(text, width) for text, shown in meanings.items() if shown.any()])


def _names(axis: Axes, data: pd.DataFrame, named: Sequence[str], styles: Styles) -> None:
    """Label the points of the methods `named`: inside the panel, off other labels, over the fewest markers."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    width, height = 72 * axis.get_position().size * figure.get_size_inches()
    places = axis.transAxes.inverted().transform(axis.transData.transform(data[["x", "y"]].to_numpy(float)))
    places = places * (width, height)
    taken = np.hstack([places - MARK / 2, places + MARK / 2])
    marked = places[(data["below_majority"].eq(True) | data["climbing"].eq(True)).to_numpy()]
    beside = np.array([0, -LINE / 2, MARK / 2 + 2 * LETTER, LINE / 2])  # the place of an arrow
    taken = np.vstack([taken, np.tile(marked, 2) + beside])
    for row in (data["method"].isin(named)).to_numpy().nonzero()[0]:
        name, look = brief(data["method"].iloc[row]), styles[data["method"].iloc[row]]
        boxes = np.array([_box(places[row], offset, len(name)) for offset in OFFSETS])
        overlaps = _overlaps(boxes, taken[: len(places)]) + COVERED * _overlaps(boxes, taken[len(places) :])
        outside = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > (width, height)).any(axis=1)
        best = int(np.argmin(overlaps + OUTSIDE * outside + 0.1 * np.arange(len(OFFSETS))))
        taken = np.vstack([taken, boxes[best]])
        offset = OFFSETS[best]
        arrow = {"arrowstyle": "-", "lw": 0.4, "color": "0.5", "relpos": (float(offset[0] < 0), 0.5), "shrinkA": 0}
        axis.annotate(
            name, tuple(data[["x", "y"]].iloc[row]), offset, textcoords="offset points", color=look.ink,
            ha="left" if offset[0] > 0 else "right", va="center", fontsize=SMALL, arrowprops={**arrow, "shrinkB": 2},
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        ).set_in_layout(False)  # fmt: skip


def _box(place: Boxes, offset: tuple[float, float], letters: int) -> tuple[float, float, float, float]:
    """The box of a label `offset` from its point, with the horizontal line between them."""
    (near, middle), side = place + offset, np.sign(offset[0])
    far = near + LETTER * letters * side
    near = near if offset[1] else place[0] + side * MARK / 2
    return min(near, far), middle - LINE / 2, max(near, far), middle + LINE / 2


def _overlaps(boxes: Boxes, taken: Boxes) -> Boxes:
    """How many of the taken boxes each box overlaps."""
    apart = (boxes[:, None, :2] >= taken[None, :, 2:]) | (boxes[:, None, 2:] <= taken[None, :, :2])
    return np.asarray((~apart.any(axis=2)).sum(axis=1), dtype=float)
