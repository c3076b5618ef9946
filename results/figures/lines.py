"""Lines of many methods: in one panel a setting while they are few, in small multiples by family when they are many."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from fedprompt.results.figures.families import FEW_SETTINGS, Lines, by_family, curve
from fedprompt.results.figures.style import CROWD, FAINT, Plot, Style, Styles, end_labels, highlighted, legend, panels

HEIGHTS = 2.4, 3.3  # inches of a panel of few and of many methods


def families(rows: pd.DataFrame) -> dict[str, str]:
    """The family of every method of the rows; none where the rows do not tell."""
    if "family" not in rows:
        return {}
    first = rows.drop_duplicates("method")
    return dict(zip(first["method"], first["family"], strict=True))


def curves(lines: Lines, note: str = "", ends_apart: bool = True) -> tuple[Plot, list[Axes]]:
    """The figure of these lines, and its panels.

    Few methods have a panel a setting, a band from `low` to `high` (shares) where `data` has these and a `note` on them.
    Many are drawn by family; of many settings the best in colour, named at their ends where these are `ends_apart`.
    """
    data, methods, styles, _, axes, labels, columns = lines
    settings, crowd = list(dict.fromkeys(data["setting"])), len(methods) > CROWD
    if crowd and len(settings) <= FEW_SETTINGS * columns:
        return by_family(lines)
    figure, places = panels(settings, *labels, columns, HEIGHTS[crowd], row=columns if crowd else None)
    for axis, setting in zip(places, settings, strict=True):
        _lines(axis, data[data["setting"] == setting], methods, styles, axes, ends_apart)
    coloured = highlighted(methods)
    if not crowd:
        legend(figure, methods, styles, note=note)
    elif not ends_apart:
        others = f"{len(methods) - len(coloured)} others"
        legend(figure, [*coloured, others], {**styles, others: Style(FAINT, "", "-")})
    return figure, places


def _lines(
    axis: Axes, data: pd.DataFrame, methods: Sequence[str], styles: Styles, axes: tuple[str, str], ends_apart: bool
) -> None:
    coloured, ends = set(highlighted(methods)), {}
    looks = {name: styles[name] if name in coloured else styles[name].faint for name in methods}
    for i, method in sorted(enumerate(methods), key=lambda place: (place[1] in coloured, -place[0])):
        mine = data[data["method"] == method].dropna(subset=[axes[1]])
        if mine.empty:
            continue
        x, y = mine[axes[0]], mine[axes[1]]
        if method in coloured:
            curve(axis, x, y, looks[method], method, i)
        else:
            axis.plot(x, y, label=method, color=FAINT, linewidth=0.7)
        if "low" in mine and mine["low"].notna().any():
            axis.fill_between(x, 100 * mine["low"], 100 * mine["high"], color=looks[method].colour, alpha=0.15, lw=0)
        ends[method] = (float(x.iloc[-1]), float(y.iloc[-1]))
    axis.margins(x=0.02)
    if len(methods) > CROWD and ends_apart:
        dark = {name: look._replace(colour="0.6") if name not in coloured else look for name, look in looks.items()}
        end_labels(axis, HEIGHTS[True], ends, dark)
