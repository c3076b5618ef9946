"""Accuracy against communication."""

import numpy as np
import pandas as pd

from fedprompt.results.figures.method_styles import CROWD, Styles, assign
from fedprompt.results.figures.pages import page_of
from fedprompt.results.figures.parts.panels import legend, panels_by
from fedprompt.results.figures.parts.points import footnote, label, points
from fedprompt.results.figures.style import SEEN, Plot, axis_label, styled
from fedprompt.results.statistics.convergence import with_climbing
from fedprompt.results.statistics.summary import finished, over_seeds, ranking
from fedprompt.results.statistics.trivial import below_majority


@styled
def accuracy_by_bytes(
    runs: pd.DataFrame,
    styles: Styles | None = None,
    columns: int = 2,
    metric: str = SEEN,
    style: str | None = None,
) -> Plot:
    """Mean accuracy (of the seen clients, or another `metric`) against the upload of all clients per run.

    One point per method, one panel per setting. Grey steps join the methods on the Pareto front: no other method is at
    least as accurate with less upload. Methods without upload are at 0. Arrows mark accuracies below `majority` and
    methods that still climb.
    """
    done = finished(runs)
    data = over_seeds(done, ["setting", "method"], metric)
    upload = over_seeds(done, ["setting", "method"], "upload_mb")[["setting", "method", "mean"]]
    data = data.merge(upload.rename(columns={"mean": "upload_mb"}), on=["setting", "method"])
    data = with_climbing(data.assign(on_front=_on_front(data), below_majority=below_majority(data)), done)
    methods, styles = ranking(data, "mean"), styles or assign(runs["method"])
    page = page_of(style, columns)
    height, row = (2.9 if page.columns > 1 else 2.4, page.columns) if len(methods) > CROWD else (2.3, None)
    figure, panels = panels_by(data, "setting", "uploaded per run (MB)", axis_label(metric), page, height, row)
    panels = [(axis, rows.assign(x=rows["upload_mb"], y=100 * rows["mean"])) for axis, rows in panels]
    for axis, rows in panels:
        positive = rows.loc[rows["upload_mb"] > 0, "upload_mb"]
        least = 10 ** np.floor(np.log10(positive.min())) if len(positive) else 1.0
        axis.set_xscale("symlog", linthresh=least, linscale=0.4)
        axis.xaxis.set_major_formatter("{x:g}")  # the exponents of powers would be smaller than 7 points
        front = rows[rows["on_front"]].sort_values("upload_mb")
        axis.step(front["upload_mb"], 100 * front["mean"], where="post", color="0.6", linewidth=0.8, zorder=0)
        axis.set_xlim(-0.2 * least, 2 * max(least, rows["upload_mb"].max()))
        points(axis, rows, methods, styles)
    legend(figure, methods, styles, lines=False, note=footnote(data, "", page.characters()))
    label(figure, panels, methods, styles)
    figure.data = data
    return figure


def _on_front(data: pd.DataFrame) -> pd.Series:
    """Whether no method of the same setting is at least as accurate for less upload."""
    ordered = data.sort_values(["setting", "upload_mb", "mean"], ascending=[True, True, False])
    before = ordered.groupby("setting")["mean"].transform(lambda means: means.cummax().shift(fill_value=-1))
    return ordered["mean"] > before
