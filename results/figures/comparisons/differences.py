"""Differences of methods to a reference: one panel per score, one row per method, one mark per setting."""

from collections.abc import Sequence
from textwrap import fill
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.ticker import MaxNLocator

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.method_styles import COLOURS, CROWD, LINES, MARKERS, Style, Styles
from fedprompt.results.figures.pages import page_of
from fedprompt.results.figures.parts.intervals import bars, error_bars, note
from fedprompt.results.figures.parts.panels import brief, legend, panels
from fedprompt.results.figures.style import SEEN, Plot, styled
from fedprompt.results.statistics import inference, pairs
from fedprompt.results.statistics.prior import NOTES, PRIOR, calibrated
from fedprompt.results.statistics.reference import to_reference
from fedprompt.results.statistics.summary import finished, ranking

SCORES = {SEEN: "seen clients, mean", "held_out.mean": "held-out clients, mean", "seen.worst": "worst seen client"}
BOTH = f"both{PRIOR}"
SHAPES = [marker for marker in MARKERS if marker not in "PX"]  # those that are legible when small and hollow
LEAST, MARK, GAP = 0.14, 0.055, 0.05  # inches: least height of a row, height of a mark, gap between rows
LONGEST = {1: 18, 2: 26}  # characters of a name, by columns of the page


class Row(NamedTuple):
    """A row of the figure, `method` - `reference`; it stands beside the other rows of the uncorrected method `of`."""

    of: str
    method: str
    reference: str


@styled
def differences(
    runs: pd.DataFrame,
    reference: str | None = None,
    prior: bool = False,
    columns: int = 2,
    metric: str = SEEN,
    style: str | None = None,
) -> Plot:
    """Mean differences of all methods to one (`--reference METHOD`), paired by seed, with bootstrap intervals.

    One panel per score of `SCORES`, or one of another `metric`; one row per method, the highest accuracy first; one
    mark per setting, filled where the 95 % interval excludes 0. With `prior`, also rows of METHOD+prior minus the
    reference, and of both with prior-corrected logits. Of many rows, values beyond Tukey's outer fences are arrows at
    the edge: they would press all others together.

    Raises:
        MissingDataError: There is no reference, it has no pair with another method, or with `prior`, no run has such
            scores.
    """
    if reference is None:
        raise MissingDataError("it compares methods with one of them; name it with --reference METHOD")
    scores = SCORES if metric == SEEN else {metric: metric}
    done, page = finished(runs), page_of(style, columns)
    data = to_reference(runs, scores, reference, prior)
    methods = [reference, *ranking(done, metric)]
    rows, looks = _rows(data, methods, reference), _looks(data)
    names = [_name(row, LONGEST[page.columns]) for row in rows]
    titles = [scores[name] for name in data["metric"].unique()]
    height = 0.6 + len(rows) * max(LEAST, MARK * len(looks) + GAP)
    figure, axes = panels(titles, "", "", page, height, len(titles), 0.065 * max(map(len, names)) + 0.2)
    far = False
    for axis, title, (_, part) in zip(axes, titles, data.groupby("metric", sort=False), strict=True):
        places = _marks(axis, part, rows, looks)
        far |= len(rows) > CROWD and _without_far_out(axis, part, places, looks)
        axis.set_yticks(range(len(rows)), names if axis is axes[0] else [""] * len(rows))
        axis.set_title(axis.get_title() or title)
        axis.xaxis.set_major_locator(MaxNLocator(5 if page.columns > 1 else 2))
    text = [*_note(data, reference), *["arrows: values beyond the axis"] * far, *_prior_note(data, done, reference)]
    legend(figure, list(looks), looks, lines=False, note="\n".join(fill(line, page.characters()) for line in text))
    figure.data = data
    return figure


def _rows(data: pd.DataFrame, methods: Sequence[str], reference: str) -> list[Row]:
    """The rows that have a difference, in the order of the methods."""
    drawn = set(zip(data["method"], data["reference"], strict=True))
    every = [
        Row(of, name, other)
        for of in dict.fromkeys(methods)
        for name, other in ((of, reference), (of + PRIOR, reference), (of + PRIOR, reference + PRIOR))
    ]
    return [row for row in every if (row.method, row.reference) in drawn]


def _name(row: Row, most: int) -> str:
    if row.reference.endswith(PRIOR):
        return BOTH
    return brief(row.of, most) if row.method == row.of else brief(row.of, most - len(PRIOR)) + PRIOR


def _looks(data: pd.DataFrame) -> dict[str, Style]:
    """The look of each setting; hollow if no mark is filled."""
    settings = data["setting"].unique()
    looks = {name: Style(COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)], "-") for i, name in enumerate(settings)}
    return looks if data["excludes_0"].any() else {name: _hollow(look) for name, look in looks.items()}


def _hollow(look: Style) -> Style:
    return look._replace(line=LINES[1])


def _marks(axis: Axes, data: pd.DataFrame, rows: Sequence[Row], looks: Styles) -> "pd.Series[float]":
    """Draw the marks of the settings side by side in each row, and grey bands behind every second method.

    Returns the place of each row of `data` on the y axis.
    """
    for i, of in enumerate(dict.fromkeys(row.of for row in rows)):
        members = [place for place, row in enumerate(rows) if row.of == of]
        if i % 2:
            axis.axhspan(members[0] - 0.5, members[-1] + 0.5, color="0.95", linewidth=0, zorder=0)
    axis.axvline(0, color="0.4", linewidth=0.8, zorder=1)
    step, lines = MARK / max(LEAST, MARK * len(looks) + GAP), {row[1:]: place for place, row in enumerate(rows)}
    offsets = {setting: step * (i - (len(looks) - 1) / 2) for i, setting in enumerate(looks)}
    keys = zip(data["method"], data["reference"], data["setting"], strict=True)
    places = pd.Series([lines[method, other] + offsets[setting] for method, other, setting in keys], data.index)
    for (setting, excludes), part in data.groupby(["setting", "excludes_0"], sort=False):
        look = looks[str(setting)] if excludes else _hollow(looks[str(setting)])
        keywords = {**look.keywords(lines=False), "markersize": 3.5, "markeredgewidth": 0.8}
        lengths = bars(part.assign(mean=part["value"]))
        error_bars(axis, 100 * part["value"], places[part.index], xerr=lengths, **keywords)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    return places


def _without_far_out(axis: Axes, data: pd.DataFrame, places: "pd.Series[float]", looks: Styles) -> bool:
    """End the x axis at Tukey's outer fences, with an arrow for every value beyond; return whether there is any."""
    values = 100 * data["value"]
    first, third = values.quantile([0.25, 0.75])
    reach, (left, right) = 3 * (third - first), axis.get_xlim()
    left, right = max(left, min(first - reach, -reach / 6)), min(right, max(third + reach, reach / 6))
    beyond = values.index[~values.between(left, right)]
    if not reach or beyond.empty:
        return False
    axis.set_xlim(left, right)
    for row in beyond:
        edge, arrow = (left, CARETLEFT) if values[row] < left else (right, CARETRIGHT)
        colour = looks[str(data.loc[row, "setting"])].colour
        axis.plot(edge, places[row], marker=arrow, color=colour, markersize=3.5, clip_on=False)
    return True


def _note(data: pd.DataFrame, reference: str) -> list[str]:
    """What the numbers, bars and filled marks are."""
    level = f"{100 * inference.LEVEL:.0f} %"
    filled = [f"filled: the {level} interval excludes 0, not adjusted for several comparisons"]
    why = pairs.untestable(int(data["seeds"].min()))
    intervals = note(data.assign(mean=data["value"]))
    numbers = "; ".join(filter(None, (f"method minus {reference} (points)", intervals)))
    return [numbers, *filled * bool(data["excludes_0"].any()), *[why] * bool(why)]


def _prior_note(data: pd.DataFrame, done: pd.DataFrame, reference: str) -> list[str]:
    """What the rows with prior-corrected logits are."""
    both = [f"{BOTH}: the method{PRIOR} minus {reference}{PRIOR}"] * bool((data["reference"] != reference).any())
    return [NOTES[calibrated(done)], *both] if data["method"].str.endswith(PRIOR).any() else []
