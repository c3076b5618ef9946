"""Accuracy over rounds, against the partition, and of held-out beside seen clients."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fedprompt.results.figures.families import Lines
from fedprompt.results.figures.intervals import bars, note
from fedprompt.results.figures.lines import curves, families
from fedprompt.results.figures.points import points
from fedprompt.results.figures.style import CROWD, WIDTHS, Plot, Styles, assign, highlighted, legend, panels, styled
from fedprompt.results.statistics.summary import finished, over_seeds, ranking, with_intervals

ACCURACY = "accuracy of seen clients (%)"


@styled
def accuracy_by_alpha(runs: pd.DataFrame, styles: Styles | None = None, columns: int = 2) -> Plot:
    """Mean accuracy of the seen clients against the partition: a point a method, its interval over seeds as a bar.

    Dirichlet alphas ascending, then the other partitions, iid last. One panel for each group of settings that differ in
    nothing but their partition; with many methods one for each partition, a row a method.
    """
    done = finished(runs)
    methods, styles = ranking(done, "seen.mean"), styles or assign(runs["method"])
    data = with_intervals(done, ["group", "partition", "alpha", "skew", "setting", "method"], "seen.mean")
    figure = (_rows if len(methods) > CROWD else _columns)(data, methods, styles, columns)
    figure.data = data.drop(columns="setting")
    return figure


def _columns(data: pd.DataFrame, methods: list[str], styles: Styles, columns: int) -> Plot:
    groups = list(dict.fromkeys(data["group"]))
    xlabel = "Dirichlet alpha" if "dirichlet" in set(data["partition"]) else "partition"
    figure, axes = panels(groups, xlabel, ACCURACY, columns, 2.6, row=columns)
    for axis, group in zip(axes, groups, strict=True):
        _by_skew(axis, data[data["group"] == group], methods, styles)
    legend(figure, methods, styles, lines=False, note=note(data))
    return figure


def _by_skew(axis: Axes, data: pd.DataFrame, methods: list[str], styles: Styles) -> None:
    skews = _ordered(data)
    place = {skew: i for i, skew in enumerate(skews["skew"])}
    # Side by side, best overall first: bars that stand on one another could not be told apart.
    reach = min(0.38, 0.06 * (len(methods) - 1))
    offsets = np.linspace(-reach, reach, len(methods))
    for method, offset in zip(methods, offsets, strict=True):
        mine = data[data["method"] == method]
        x = mine["skew"].map(place).to_numpy(float) + offset
        axis.errorbar(
            x, 100 * mine["mean"], yerr=bars(mine), label=method,
            elinewidth=0.8, capsize=1.5, **styles[method].keywords(lines=False),
        )  # fmt: skip
    plain = ["" if pd.isna(alpha) else f"{alpha:.12g}" for alpha in skews["alpha"]]
    dirichlet = skews["partition"] == "dirichlet"
    axis.set_xticks(range(len(skews)), np.where(dirichlet, plain, skews["skew"]).tolist())
    axis.set_xlim(-0.5, len(skews) - 0.5)
    for border in np.arange(0.5, len(skews) - 1):
        axis.axvline(border, color="0.85", linewidth=0.8)
    axis.grid(axis="x", visible=False)


def _ordered(data: pd.DataFrame) -> pd.DataFrame:
    skews = data.drop_duplicates(["group", "skew"])
    rank = skews["partition"].map({"dirichlet": 0, "iid": 2}).fillna(1)
    return skews.assign(rank=rank).sort_values(["group", "rank", "partition", "alpha"]).reset_index(drop=True)


def _rows(data: pd.DataFrame, methods: list[str], styles: Styles, columns: int) -> Plot:
    settings = list(_ordered(data)["setting"])
    across = min(2 * columns, len(settings))
    figure, axes = panels(settings, ACCURACY, "", columns, 0.7 + 0.125 * len(methods), row=across)
    coloured = highlighted(methods)
    for i, (axis, setting) in enumerate(zip(axes, settings, strict=True)):
        mine = data[data["setting"] == setting].set_index("method").reindex(methods)
        for row, (method, reach) in enumerate(zip(methods, bars(mine).T, strict=True)):
            look = styles[method] if method in coloured else styles[method]._replace(colour="0.5")
            axis.errorbar(
                100 * float(mine.loc[method, "mean"]), row, xerr=reach[:, None], label=method,
                elinewidth=0.8, capsize=1.5, **look.keywords(lines=False),
            )  # fmt: skip
        axis.set_yticks(range(len(methods)), methods if i % across == 0 else [""] * len(methods))
        axis.set_ylim(len(methods) - 0.4, -0.6)
        axis.xaxis.set_major_locator(MaxNLocator(5 if across < 3 else 4))
        axis.set_xlabel("")  # one label for all: beside each other they would run into one another
    said = fill(note(data), 46) if columns == 1 else note(data)
    figure.supxlabel(f"{ACCURACY}\n{said}".rstrip(), fontsize=8)
    return figure


@styled
def accuracy_over_rounds(rounds: pd.DataFrame, styles: Styles | None = None, columns: int = 2) -> Plot:
    """Mean accuracy of the seen clients over the rounds: mean over seeds, its interval as a band; one panel a setting.

    With many methods a panel a family and setting, without bands, where the settings are few enough for that.
    """
    summary = with_intervals if rounds["method"].nunique() <= CROWD else over_seeds  # a crowd has no room for bands
    data = summary(rounds, ["setting", "method", "round"], "seen_mean").sort_values(["setting", "method", "round"])
    last = data.groupby(["setting", "method"]).tail(1)
    methods, styles = ranking(last, "mean"), styles or assign(rounds["method"])
    shown = data.assign(accuracy=100 * data["mean"])
    lines = Lines(shown, methods, styles, families(rounds), ("round", "accuracy"), ("round", ACCURACY), columns)
    figure, axes = curves(lines, note(data))
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    figure.data = data
    return figure


@styled
def seen_and_held_out(runs: pd.DataFrame, styles: Styles | None = None, columns: int = 2) -> Plot:
    """Mean accuracy of the clients held out against that of the clients trained on: a point a method, a panel a setting.

    Above the diagonal a method does better on clients that it never met.
    """
    done = finished(runs)
    held = over_seeds(done, ["setting", "method"], "held_out.mean").rename(
        columns={"mean": "held_out", "std": "spread"}
    )
    seen = over_seeds(done, ["setting", "method"], "seen.mean").rename(columns={"mean": "seen", "std": "seen_std"})
    data = seen.merge(held.rename(columns={"spread": "held_out_std"}).drop(columns="seeds"), on=["setting", "method"])
    methods, styles = ranking(data, "seen"), styles or assign(runs["method"])
    settings = list(dict.fromkeys(data["setting"]))
    across = columns if len(methods) > CROWD else 2 * columns - 1
    ylabel, height = "accuracy of held-out clients (%)", 0.95 * WIDTHS[columns] / across
    figure, axes = panels(settings, ACCURACY, ylabel, columns, height, row=across)
    for axis, setting in zip(axes, settings, strict=True):
        mine = data[data["setting"] == setting]
        points(axis, mine.assign(x=100 * mine["seen"], y=100 * mine["held_out"]), methods, styles)
        axis.axline((50, 50), slope=1, color="0.6", linewidth=0.8, zorder=0)
    legend(figure, methods, styles, lines=False)
    figure.data = data
    return figure
