"""How every figure looks: one colour, marker and line a method, panels, one legend."""

import re
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from textwrap import fill
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

ACCURACY = "accuracy of seen clients (%)"
WIDTHS = {1: 3.4, 2: 7.0}  # inches, for one and for two columns of a page
CROWD = 10  # beyond so many methods, bands and legends only hide lines
BEST = 6
SOUGHT = ("pep-fedpt", "fedvpt")
FAINT = "0.72"
# The methods by the place of their style, which stays theirs: a new one is added at the end.
PLACES = {
    name: place
    for place, name in enumerate(
        (
            *("pep-fedpt", "fedvpt", "head", "sgpt", "pfedpg", "fedvpt-deep", "local", "fedncm", "fed3r", "fedcof"),
            *("fedper", "fedrep", "fedbabu", "fedl2p", "fedpr", "pfpt", "pfedpt", "pvpt", "fedvpt-ft", "fedlora"),
            *("ffa-lora", "flexlora", "fedsa-lora", "fedadapter", "fedbias", "ditto", "apfl", "pfedme", "fedrod"),
            *("knn-per", "fedproto", "fedpac"),
        )
    )
}
# P. Tol's "muted" scheme and black: told apart by colour-blind eyes. Line and marker carry the same news in grey.
COLOURS = ("#332288", "#CC6677", "#117733", "#DDAA33", "#882255", "#44AA99", "#000000", "#AA4499", "#88CCEE", "#999933")
LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
# A marker is filled after its line, so that it says the same where no line is drawn: whole, hollow, half.
FILLS: tuple[dict[str, Any], ...] = (
    {},
    {"markerfacecolor": "white"},
    {"fillstyle": "left", "markerfacecoloralt": "white"},
    {"fillstyle": "bottom", "markerfacecoloralt": "white"},
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
RC: dict[Any, Any] = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "font.size": 8,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "savefig.dpi": 200,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}

styled = rc_context(RC)


class Style(NamedTuple):
    """How one method is drawn."""

    colour: str
    marker: str
    line: Any

    @property
    def ink(self) -> str:
        """The colour, dark enough for text on white."""
        red, green, blue = to_rgb(self.colour)
        return to_hex((0.72 * red, 0.72 * green, 0.72 * blue))

    @property
    def faint(self) -> "Style":
        """The same in light grey, for a crowd."""
        return self._replace(colour=FAINT, line="-")

    def keywords(self, lines: bool = True) -> dict[str, Any]:
        """The style as keywords of `Axes.plot`, with or without the line between the markers."""
        look = {"color": self.colour, "marker": self.marker, "linestyle": self.line if lines else ""}
        return look | FILLS[LINES.index(self.line)]


Styles = Mapping[str, Style]


class Plot(Figure):
    """A figure that carries the numbers it shows, and that a notebook shows without pyplot."""

    data: pd.DataFrame

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        with rc_context(RC):
            self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()


def assign(methods: Iterable[str]) -> dict[str, Style]:
    """A style for every method, by its name: a method looks the same in all figures of all directories.

    The methods named here have each their own; one of another name takes what its name hashes to, or the next that is
    free. A variant keeps the colour of its method. Four lines and eleven markers share no divisor, so up to 44 methods
    differ in grey.
    """
    styles: dict[str, Style] = {}
    for name in sorted(set(methods), key=lambda name: (name not in PLACES, name)):
        taken = {(style.marker, style.line) for style in styles.values()}
        wanted = [_style(place) for place in _places(name)]
        styles[name] = next((style for style in wanted if (style.marker, style.line) not in taken), wanted[0])
    return styles


def _style(place: int) -> Style:
    return Style(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], LINES[place % len(LINES)])


def _places(name: str) -> list[int]:
    """The places that a name may take, the most wanted first."""
    if name in PLACES:
        return [PLACES[name]]
    whole, start, root = len(COLOURS) * 2 * len(MARKERS), crc32(name.encode()), re.split(r"[:+ ]", name)[0]
    anywhere = [(start + i) % whole for i in range(whole)]
    same = [place for place in anywhere if root in PLACES and (place - PLACES[root]) % len(COLOURS) == 0]
    return same + anywhere


def highlighted(methods: Sequence[str]) -> list[str]:
    """Those of the ranked methods that a crowded figure draws in colour: the best, and the two that a reader seeks."""
    if len(methods) <= CROWD:
        return list(methods)
    return [name for i, name in enumerate(methods) if i < BEST or name in SOUGHT]


def panels(
    names: Sequence[str], xlabel: str, ylabel: str, columns: int = 2, height: float = 2.4, row: int | None = None
) -> tuple[Plot, list[Axes]]:
    """A figure as wide as one or two `columns` of a page, one panel a name, each `height` inches high, `row` in a row.

    A panel is named only beside others: what a lone one shows is for the caption to say.
    """
    across = min(len(names), row or 2 * columns - 1)
    down = -(-len(names) // across)
    figure = Plot(figsize=(WIDTHS[columns], down * height), layout="constrained")
    axes = [figure.add_subplot(down, across, i + 1) for i in range(len(names))]
    room = int(WIDTHS[columns] / across * 14)
    for i, (axis, name) in enumerate(zip(axes, names, strict=True)):
        if i >= len(names) - across:
            axis.set_xlabel(xlabel)
        if i % across == 0:
            axis.set_ylabel(ylabel)
        if len(names) > 1:
            axis.set_title(fill(name, room, break_long_words=False, break_on_hyphens=False))
    return figure, axes


def brief(name: str, most: int = 26) -> str:
    """The name, cut where it is long: the numbers beside the figure have it whole."""
    return name if len(name) <= most else f"{name[: most - 3]}..."


def end_labels(axis: Axes, height: float, ends: Mapping[str, tuple[float, float]], styles: Styles) -> None:
    """Every line's name to the right of a panel of `height` inches, joined to the line's end (x, y), none on another.

    The names stand as near their lines as least squares allows.
    """
    names = sorted(ends, key=lambda name: -ends[name][1])
    low, high = axis.get_ylim()
    gap = min(7.2 / 72 / (0.78 * height), 1 / max(1, len(names) - 1))
    steps = gap * np.arange(len(names))
    at = np.array([(ends[name][1] - low) / (high - low) for name in names])
    places = isotonic_regression(at + steps, increasing=False).x - steps
    places = np.minimum(np.maximum(places, steps[::-1]), 1 - steps)
    for name, place in zip(names, places, strict=True):
        axis.annotate(
            brief(name), ends[name], (1.06, place), textcoords=axis.transAxes, va="center", color=styles[name].ink,
            fontsize=min(6.0, gap * 0.78 * height * 72 / 1.15), annotation_clip=False,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": styles[name].colour, "relpos": (0, 0.5), "shrinkB": 0},
        )  # fmt: skip


def legend(figure: Plot, methods: Sequence[str], styles: Styles, lines: bool = True, note: str = "") -> None:
    """One legend below the panels, of markers and, where they are drawn, `lines`; the figure grows by it.

    It keeps the methods' order, column by column; a `note` stands over it.
    """
    widest = max(len(name) for name in methods)
    columns = max(1, min(len(methods), int(figure.get_figwidth() / (0.065 * widest + 0.5))))
    rows = -(-len(methods) // columns)
    figure.set_figheight(figure.get_figheight() + 0.16 * (rows + bool(note)))
    handles = [Line2D([], [], label=name, **styles[name].keywords(lines)) for name in methods]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=3 if lines else 1,
        title=note or None, title_fontsize=7,
    )  # fmt: skip
