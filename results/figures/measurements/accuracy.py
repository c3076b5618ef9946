"""Accuracy by partition, over rounds, and of held-out against seen clients."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fedprompt.results.figures.inputs import families
from fedprompt.results.figures.method_styles import CROWD, Styles, assign, highlighted
from fedprompt.results.figures.pages import Page, page_of
from fedprompt.results.figures.parts.families import Lines
from fedprompt.results.figures.parts.intervals import bars, error_bars, note
from fedprompt.results.figures.parts.lines import curves
from fedprompt.results.figures.parts.panels import brief, legend, panels_by
from fedprompt.results.figures.parts.points import arrows, footnote, label, points
from fedprompt.results.figures.style import ACCURACY, SEEN, SMALL, Plot, axis_label, styled
from fedprompt.results.statistics.convergence import with_climbing
from fedprompt.results.statistics.summary import finished, over_seeds, ranking, with_intervals
from fedprompt.results.statistics.trivial import FOOTNOTE, below_majority

ROW = 0.13  # inches, of a method of many


@styled
def accuracy_by_alpha(
    runs: pd.DataFrame,
    styles: Styles | None = None,
    columns: int = 2,
    metric: str = SEEN,
    style: str | None = None,
) -> Plot:
    """Mean accuracy (of the seen clients, or another `metric`) by partition, with intervals over seeds.

    Partitions are ordered: Dirichlet by ascending alpha, other partitions, iid. Up to `CROWD` methods share one panel
    per group of settings that differ in their partition only; more methods have one row each, in one panel per setting.
    Arrows mark accuracies below `majority` and methods that still climb.
    """
    done = finished(runs)
    methods, styles = ranking(done, metric), styles or assign(runs["method"])
    data = with_intervals(done, ["group", "partition", "alpha", "skew", "setting", "method"], metric)
    data = with_climbing(data.assign(below_majority=below_majority(data)), done)
    drawn = _rows if len(methods) > CROWD else _columns
    figure = drawn(data, methods, styles, page_of(style, columns), axis_label(metric))
    figure.data = data.drop(columns="setting")
    return figure


def _columns(data: pd.DataFrame, methods: list[str], styles: Styles, page: Page, label: str) -> Plot:
    xlabel = "Dirichlet alpha" if "dirichlet" in set(data["partition"]) else "partition"
    figure, panels = panels_by(data, "group", xlabel, label, page, 2.6, row=page.columns)
    for axis, rows in panels:
        _by_skew(axis, rows, methods, styles)
    legend(figure, methods, styles, lines=False, note=footnote(data, note(data), page.characters()))
    return figure


def _by_skew(axis: Axes, data: pd.DataFrame, methods: list[str], styles: Styles) -> None:
    skews = _ordered(data)
    place = {skew: i for i, skew in enumerate(skews["skew"])}
    # Side by side, best overall first, so that bars do not cover each other.
    reach = min(0.38, 0.06 * (len(methods) - 1))
    for method, offset in zip(methods, np.linspace(-reach, reach, len(methods)), strict=True):
        rows = data[data["method"] == method]
        x, look = rows["skew"].map(place).to_numpy(float) + offset, styles[method].keywords(lines=False)
        error_bars(axis, x, 100 * rows["mean"], yerr=bars(rows), label=method, **look)
        arrows(axis, x, 100 * rows["mean"], rows)
    alphas = ["" if pd.isna(alpha) else f"{alpha:.12g}" for alpha in skews["alpha"]]
    dirichlet = skews["partition"] == "dirichlet"
    axis.set_xticks(range(len(skews)), np.where(dirichlet, alphas, skews["skew"]).tolist())
    axis.set_xlim(-0.5, len(skews) - 0.5)
    for border in np.arange(0.5, len(skews) - 1):
        axis.axvline(border, color="0.85", linewidth=0.8)
    axis.grid(axis="x", visible=False)


def _ordered(data: pd.DataFrame) -> pd.DataFrame:
    """One row per group and partition, in the order drawn."""
    skews = data.drop_duplicates(["group", "skew"])
    rank = skews["partition"].map({"dirichlet": 0, "iid": 2}).fillna(1)
    return skews.assign(rank=rank).sort_values(["group", "rank", "partition", "alpha"]).reset_index(drop=True)


def _rows(data: pd.DataFrame, methods: list[str], styles: Styles, page: Page, label: str) -> Plot:
    order = {setting: place for place, setting in enumerate(_ordered(data)["setting"])}
    data = data.sort_values("setting", key=lambda settings: settings.map(order), kind="stable")
    across = min(2 * page.columns, len(order))
    text = fill(note(data), page.characters())
    text = f"{label}\n{footnote(data, text, page.characters())}".rstrip()
    names = [brief(name) for name in methods]
    beside = 0.065 * max(map(len, names)) + 0.2
    figure, panels = panels_by(data, "setting", "", "", page, 0.55 + ROW * len(methods), across, beside)
    figure.set_figheight(figure.get_figheight() + 0.15 * (1 + text.count("\n")))
    coloured = highlighted(methods)
    for i, (axis, part) in enumerate(panels):
        rows = part.set_index("method").reindex(methods)
        for place, (method, mean, bar) in enumerate(zip(methods, rows["mean"], bars(rows).T, strict=True)):
            look = styles[method] if method in coloured else styles[method]._replace(colour="0.5")
            error_bars(axis, 100 * mean, place, xerr=bar[:, None], label=method, **look.keywords(lines=False))
        ends = rows["high"].fillna(rows["mean"])  # right of the bars
        arrows(axis, 100 * ends, range(len(methods)), rows)
        axis.set_yticks(range(len(methods)), names if i % across == 0 else [""] * len(methods))
        axis.set_ylim(len(methods) - 0.4, -0.6)
        axis.xaxis.set_major_locator(MaxNLocator(5 if across < 3 else 4))
    figure.supxlabel(text, fontsize=SMALL)  # one label for all: several would overlap
    return figure


@styled
def accuracy_over_rounds(
    rounds: pd.DataFrame, styles: Styles | None = None, columns: int = 2, style: str | None = None
) -> Plot:
    """Mean accuracy of the seen clients over the rounds, with intervals over seeds as bands; one panel per setting.

    Many methods are drawn without bands, in one panel per family and setting where there are few settings.
    """
    summarise = with_intervals if rounds["method"].nunique() <= CROWD else over_seeds
    data = summarise(rounds, ["setting", "method", "round"], "seen_mean").sort_values(["setting", "method", "round"])
    last = data.groupby(["setting", "method"]).tail(1)
    methods, styles = ranking(last, "mean"), styles or assign(rounds["method"])
    shown = data.assign(accuracy=100 * data["mean"])
    lines = Lines(
        shown, methods, styles, families(rounds), ("round", "accuracy"), ("round", ACCURACY), page_of(style, columns)
    )
    figure, panels = curves(lines, note(data))
    for axis in panels:
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    figure.data = data
    return figure


@styled
def seen_and_held_out(
    runs: pd.DataFrame, styles: Styles | None = None, columns: int = 2, style: str | None = None
) -> Plot:
    """Mean accuracy of held-out clients against that of seen clients; one point per method, one panel per setting.

    Above the diagonal, a method is more accurate on held-out clients than on seen clients. Arrows mark methods below
    `majority` on either, and those that still climb.
    """
    done, by = finished(runs), ["setting", "method"]
    seen = over_seeds(done, by, "seen.mean").rename(columns={"mean": "seen", "std": "seen_std"})
    held_out = over_seeds(done, by, "held_out.mean").rename(columns={"mean": "held_out", "std": "held_out_std"})
    data = seen.merge(held_out.drop(columns="seeds"), on=by)
    below = below_majority(data, "seen") | below_majority(data, "held_out")
    data = with_climbing(data.assign(below_majority=below), done)
    methods, styles = ranking(data, "seen"), styles or assign(runs["method"])
    page = page_of(style, columns)
    across = page.columns if len(methods) > CROWD else 2 * page.columns - 1
    height = min(0.95 * page.width / across, 2.4 if page.columns == 1 else 3.3)
    figure, panels = panels_by(data, "setting", ACCURACY, "accuracy of held-out clients (%)", page, height, row=across)
    panels = [(axis, rows.assign(x=100 * rows["seen"], y=100 * rows["held_out"])) for axis, rows in panels]
    for axis, rows in panels:
        points(axis, rows, methods, styles)
        axis.autoscale_view()
        axis.autoscale(False)  # the diagonal does not change the limits
        axis.axline((50, 50), slope=1, color="0.6", linewidth=0.8, zorder=0)
    either = f"{FOOTNOTE} (on seen or held-out clients)"
    legend(figure, methods, styles, lines=False, note=footnote(data, "", page.characters(), either))
    label(figure, panels, methods, styles)
    figure.data = data
    return figure
