"""What accuracy costs."""

import numpy as np
import pandas as pd

from fedprompt.results.figures.accuracy import ACCURACY
from fedprompt.results.figures.points import points
from fedprompt.results.figures.style import CROWD, Plot, Styles, assign, legend, panels, styled
from fedprompt.results.statistics.summary import finished, over_seeds, ranking


@styled
def accuracy_by_bytes(runs: pd.DataFrame, styles: Styles | None = None, columns: int = 2) -> Plot:
    """Mean accuracy of the seen clients against what all clients of a run upload; a point a method, a panel a setting.

    The grey steps join the methods that no other beats with less traffic. What uploads nothing stands at 0.
    """
    done = finished(runs)
    data = over_seeds(done, ["setting", "method"], "seen.mean")
    traffic = over_seeds(done, ["setting", "method"], "upload_mb")[["setting", "method", "mean"]]
    data = data.merge(traffic.rename(columns={"mean": "upload_mb"}), on=["setting", "method"])
    data["on_front"] = _on_front(data)
    methods, styles = ranking(data, "mean"), styles or assign(runs["method"])
    settings = list(dict.fromkeys(data["setting"]))
    crowd = len(methods) > CROWD
    figure, axes = panels(
        settings, "uploaded in a run (MB)", ACCURACY, columns, 2.9 if crowd else 2.3, row=columns if crowd else None
    )
    for axis, setting in zip(axes, settings, strict=True):
        mine = data[data["setting"] == setting]
        sent = mine.loc[mine["upload_mb"] > 0, "upload_mb"]
        least = 10 ** np.floor(np.log10(sent.min())) if len(sent) else 1.0
        axis.set_xscale("symlog", linthresh=least, linscale=0.4)
        front = mine[mine["on_front"]].sort_values("upload_mb")
        axis.step(front["upload_mb"], 100 * front["mean"], where="post", color="0.6", linewidth=0.8, zorder=0)
        axis.set_xlim(-0.2 * least, 2 * max(least, mine["upload_mb"].max()))
        points(axis, mine.assign(x=mine["upload_mb"], y=100 * mine["mean"]), methods, styles)
    legend(figure, methods, styles, lines=False)
    figure.data = data
    return figure


def _on_front(data: pd.DataFrame) -> pd.Series:
    """Whether no method of the same setting is at least as accurate for less traffic."""
    ordered = data.sort_values(["setting", "upload_mb", "mean"], ascending=[True, True, False])
    before = ordered.groupby("setting")["mean"].transform(lambda means: means.cummax().shift(fill_value=-1))
    return ordered["mean"] > before
