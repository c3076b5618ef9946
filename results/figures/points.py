"""Points of many methods in one panel, with the names of the few that a reader seeks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from fedprompt.results.figures.style import CROWD, Styles, brief, highlighted

SIZE = 6.5  # points of a name
LETTER, LINE, MARK = 0.62 * SIZE, 1.25 * SIZE, 5.0  # points: a letter's and a name's reach, and a marker's
SIDES = ((1, 0), (-1, 0), (0.6, 1), (-0.6, 1), (0.6, -1), (-0.6, -1))
# Where a name may stand: from its point to the near end of the name, in points, the nearest first.
AWAY = [(reach * x, reach * y) for reach in (6, 11, 17, 25, 34, 43, 52) for x, y in SIDES]
NEVER = 1e6
Boxes = NDArray[np.float64]  # [n, 4] in points of the panel: left, bottom, right, top


def points(axis: Axes, data: pd.DataFrame, methods: Sequence[str], styles: Styles) -> None:
    """A marker for each row of `data` at its `x` and `y`; in a crowd the highlighted methods are named as well."""
    named = highlighted(methods)
    drawn = [name for name in methods if name in named] + [name for name in methods if name not in named]
    for method in reversed(drawn):
        mine = data[data["method"] == method]
        axis.plot(mine["x"], mine["y"], label=method, **styles[method].keywords(lines=False))
    if len(methods) > CROWD:
        axis.margins(0.08)
        axis.autoscale_view()  # places depend on the limits
        _names(axis, data.dropna(subset=["x", "y"]), named, styles)


def _names(axis: Axes, data: pd.DataFrame, named: Sequence[str], styles: Styles) -> None:
    """The name of each of these points, inside the panel, on no other name, over the fewest markers."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    width, height = 72 * axis.get_position().size * figure.get_size_inches()
    places = axis.transAxes.inverted().transform(axis.transData.transform(data[["x", "y"]].to_numpy(float)))
    places = places * (width, height)
    taken = np.hstack([places - MARK / 2, places + MARK / 2])
    for row in (data["method"].isin(named)).to_numpy().nonzero()[0]:
        name, look = brief(data["method"].iloc[row]), styles[data["method"].iloc[row]]
        boxes = np.array([_box(places[row], away, len(name)) for away in AWAY])
        cover = _covered(boxes, taken[: len(places)]) + len(places) * _covered(boxes, taken[len(places) :])
        beyond = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > (width, height)).any(axis=1)
        best = int(np.argmin(cover + NEVER * beyond + 0.1 * np.arange(len(AWAY))))
        taken = np.vstack([taken, boxes[best]])
        away = AWAY[best]
        arrow = {"arrowstyle": "-", "lw": 0.4, "color": "0.5", "relpos": (float(away[0] < 0), 0.5), "shrinkA": 0}
        axis.annotate(
            name, tuple(data[["x", "y"]].iloc[row]), away, textcoords="offset points", color=look.ink,
            ha="left" if away[0] > 0 else "right", va="center", fontsize=SIZE, arrowprops={**arrow, "shrinkB": 2},
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )  # fmt: skip


def _box(place: Boxes, away: tuple[float, float], letters: int) -> tuple[float, float, float, float]:
    """What a name takes of the panel, with the level line that leads to it."""
    (near, middle), side = place + away, np.sign(away[0])
    far = near + LETTER * letters * side
    near = near if away[1] else place[0] + side * MARK / 2
    return min(near, far), middle - LINE / 2, max(near, far), middle + LINE / 2


def _covered(boxes: Boxes, taken: Boxes) -> Boxes:
    """How many of the taken boxes each box meets."""
    apart = (boxes[:, None, :2] >= taken[None, :, 2:]) | (boxes[:, None, 2:] <= taken[None, :, :2])
    return np.asarray((~apart.any(axis=2)).sum(axis=1), dtype=float)
