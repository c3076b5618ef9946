"""The report's charts: what Plotly draws them with, and their numbers, small enough for thousands of runs.

A chart has a `layout` and a `trace`, which its traces share. Its `lines` are by source of the metric (see
`metrics`), setting and method; a method without data has none. The look of method i is entry i of the `template`.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from fedprompt.results.figures.method_styles import Style, Styles, blended
from fedprompt.results.figures.plotly_style import plotly_dash, plotly_symbol
from fedprompt.results.report.metrics import METRICS, ROUND_COLUMNS, Source

MAX_POINTS = 60  # per curve
ALL_POINTS = 300_000  # of all curves; with more, each has fewer points, at least `MIN_POINTS`
MIN_POINTS = 8
SHARES = np.linspace(0, 1, 41)  # of the clients, worst first
MAX_CLIENTS, MAX_CLASSES = 100, 100  # shown of a partition
MARKS = {"maxdisplayed": 8}  # of a line; its method shows in colour, dash and marker
CLEAR = "rgba(0, 0, 0, 0)"  # the page's background shows through
Chart = dict[str, Any]


def template(methods: Sequence[str], styles: Styles, dark: bool = False) -> dict[str, Any]:
    """The defaults of all charts: colours of the page's theme, and one trace look per method in the order given."""
    ink, grid, paper = ("#e6eaee", "#3a434d", "#12161b") if dark else ("#1b1f24", "#d0d7de", "#ffffff")  # of page.css
    axis = {"gridcolor": grid, "zeroline": False, "automargin": True}
    looks = [{"name": escape(name), **_look(styles[name], dark, paper)} for name in methods]
    layout = {
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"color": ink, "size": 12},
        "margin": {"t": 10, "r": 10, "l": 50, "b": 45},
        "hovermode": "closest",
        "xaxis": axis,
        "yaxis": axis,
        "shapedefaults": {"line": {"color": ink, "width": 2}},
    }
    heat_map = {"colorscale": "Viridis", "reversescale": not dark, "hoverongaps": False, "colorbar": {"thickness": 12}}
    return dict(go.layout.Template(layout=layout, data={"scatter": looks, "heatmap": [heat_map]}).to_plotly_json())


def _look(style: Style, dark: bool, paper: str) -> dict[str, Any]:
    colour = blended(style.colour, "#ffffff", 0.5 if dark else 0)
    symbol = plotly_symbol(style)
    dotted = symbol.endswith("-dot") and "open" not in symbol  # the dot of a full marker
    outline = {"color": paper if dotted else colour, "width": 2 if "open" in symbol else 1}
    return {
        "line": {"color": colour, "dash": plotly_dash(style), "width": 2},
        "marker": {"color": colour, "symbol": symbol, "size": 11 if dotted else 9, "line": outline},
        "error_y": {"color": colour, "thickness": 1, "width": 3},
    }


def heat_map() -> Chart:
    """Methods by settings; the page fills in the scores of the metric and the methods shown."""
    trace = go.Heatmap(
        xgap=1, ygap=1, texttemplate="%{text}", reversescale=False, colorbar_title_text="%",
        hovertemplate="%{y}<br>%{x}<br>%{customdata}<extra></extra>",
    )  # fmt: skip
    axis = {"type": "category", "showgrid": False, "dtick": 1}
    return _chart(trace, go.Layout(xaxis=axis, yaxis=axis | {"autorange": "reversed"}))


def curves(rounds: pd.DataFrame) -> Chart:
    """Per column of the rounds and setting: the mean over seeds in the evaluated rounds, and its standard deviation."""
    trace = go.Scatter(mode="lines+markers", marker=MARKS, hovertemplate="%{y:.1f} ±%{customdata:.1f} % in round %{x}")
    columns = [name for name in ROUND_COLUMNS if name in rounds]
    groups = rounds.dropna(subset=columns, how="all").groupby(["setting", "method", "round"])[columns]
    means, stds = (100 * groups.mean()).round(2), (100 * groups.std()).fillna(0).round(2)
    keys = means.index.to_frame(index=False)
    starts, numbers = np.flatnonzero(~keys.duplicated(["setting", "method"])), keys["round"].to_numpy()
    most = max(MIN_POINTS, min(MAX_POINTS, ALL_POINTS // max(1, len(starts) * len(columns))))
    names = keys[["setting", "method"]].iloc[starts].itertuples(index=False)
    parts = list(zip(names, starts, [*starts[1:], len(means)], strict=True))
    lines: dict[str, dict[str, dict[str, Any]]] = {}
    for column in columns:
        mean, std, by_setting = means[column].to_numpy(), stds[column].to_numpy(), lines.setdefault(column, {})
        for (setting, method), start, stop in parts:
            places = start + np.flatnonzero(~np.isnan(mean[start:stop]))
            if len(places):
                places = places[_spread(len(places), most)]
                line = {
                    name: part[places].tolist() for name, part in (("x", numbers), ("y", mean), ("customdata", std))
                }
                by_setting.setdefault(setting, {})[method] = line
    return _chart(trace, _layout("round")) | {"lines": lines}


def sorted_clients(clients: pd.DataFrame) -> Chart:
    """Per source and setting: the accuracies at `SHARES` of the clients, worst first, all seeds pooled."""
    hover = "%{x:.0f} % of the clients have %{y:.1f} % or less"
    trace = go.Scatter(mode="lines+markers", marker=MARKS, hovertemplate=hover)
    lines = {source.clients: _quantiles(clients, source) for source in METRICS.values()}
    layout = _layout("clients, worst first (%)")
    return _chart(trace, layout) | {"lines": lines, "shares": (100 * SHARES).round(1).tolist()}


def _quantiles(clients: pd.DataFrame, source: Source) -> dict[str, dict[str, Any]]:
    """By setting and method: the accuracies in percent at `SHARES` of the clients of a group."""
    held_out = clients["held_out"].to_numpy(bool)
    chosen = held_out if source.group == "held out" else ~held_out
    if source.client not in clients or (source.group == "trained" and "rounds_trained" not in clients):
        return {}
    if source.group == "trained":
        chosen = chosen & (clients["rounds_trained"] > 0).to_numpy()
    rows = clients.loc[chosen & clients[source.client].notna().to_numpy(), ["setting", "method", source.client]]
    groups = rows.groupby(["setting", "method"], sort=False)
    numbers = groups.ngroup().to_numpy()
    values = rows[source.client].to_numpy(float)
    values = values[np.lexsort((values, numbers))]
    sizes = np.bincount(numbers)
    places = SHARES * (sizes[:, None] - 1)
    below = np.floor(places).astype(int)
    starts = (np.cumsum(sizes) - sizes)[:, None]
    low, high = values[starts + below], values[starts + np.minimum(below + 1, sizes[:, None] - 1)]
    accuracies = (100 * (low + (high - low) * (places - below))).round(2)
    lines: dict[str, dict[str, Any]] = {}
    names = rows.drop_duplicates(["setting", "method"])
    for setting, method, line in zip(names["setting"], names["method"], accuracies.tolist(), strict=True):
        lines.setdefault(setting, {})[method] = line
    return lines


def costs(done: pd.DataFrame) -> Chart:
    """Per setting and method: MB uploaded and seconds, means over seeds; the page adds the scores of the metric."""
    trace = go.Scatter(
        mode="markers+text", textposition="middle right",
        hovertemplate="%{y:.1f} %%{customdata[2]}, %{customdata[0]:.3g} MB uploaded, %{customdata[1]:.1f} s",
    )  # fmt: skip
    means = done.groupby(["setting", "method"], sort=False)[["upload_mb", "seconds"]].mean()
    lines: dict[str, dict[str, Any]] = {}
    for (setting, method), upload, seconds in zip(means.index, *means.to_numpy().T, strict=True):
        lines.setdefault(setting, {})[method] = [number(upload, 4), number(seconds, 2)]
    return _chart(trace, _layout("uploaded per run (MB)", type="log")) | {"lines": lines}


def partitions(clients: pd.DataFrame) -> dict[str, Chart]:
    """Per setting, of its first run: training samples by class and client, held-out clients right of a line.

    Of many clients every n-th is shown; of many classes neighbours are summed. `table` has the numbers, headings first.
    """
    first = clients.sort_values("seed", kind="stable").drop_duplicates("setting").set_index("setting")["run_id"]
    charts = {}
    for setting, run_id in first.items():
        rows = clients[clients["run_id"] == run_id].sort_values(["held_out", "client"])
        shown = rows.iloc[_spread(len(rows), MAX_CLIENTS)]
        counts = np.stack(list(shown["class_counts"])).T
        classes = np.unique(np.linspace(0, len(counts), min(len(counts), MAX_CLASSES) + 1).round().astype(int))[:-1]
        counts = np.add.reduceat(counts, classes)
        trace = go.Heatmap(
            x=shown["client"].astype(str).tolist(), y=classes.astype(str).tolist(),
            z=[[count or None for count in row] for row in counts.tolist()], colorbar_title_text="samples",
            hovertemplate="client %{x}, class %{y}: %{z} samples<extra></extra>",
        )  # fmt: skip
        title = "client" if len(shown) == len(rows) else f"{len(shown)} of {len(rows)} clients"
        layout = _layout(title, type="category", showgrid=False)
        layout.update(yaxis_title_text="class", yaxis_type="category", yaxis_showgrid=False)
        if shown["held_out"].any():
            border = int((~shown["held_out"].astype(bool)).sum()) - 0.5
            layout.shapes = [{"type": "line", "x0": border, "x1": border, "y0": 0, "y1": 1, "yref": "paper"}]
        names = shown["client"].astype(str) + np.where(shown["held_out"], " (held out)", "")
        lines = [[name, *samples] for name, samples in zip(names, counts.T.tolist(), strict=True)]
        charts[str(setting)] = _chart(trace, layout) | {"table": [["client", *(f"class {i}" for i in classes)], *lines]}
    return charts


def _chart(trace: Any, layout: go.Layout) -> Chart:
    return {"trace": trace.to_plotly_json(), "layout": layout.to_plotly_json()}


def _layout(xlabel: str, **xaxis: Any) -> go.Layout:
    return go.Layout(xaxis={"title": {"text": xlabel}, **xaxis}, yaxis={"title": {"text": ""}})


def _spread(length: int, most: int) -> NDArray[np.int64]:
    """At most `most` places of a sequence, evenly spaced, both ends included."""
    return np.unique(np.linspace(0, length - 1, most).round().astype(int))


def number(value: float, places: int) -> float | None:
    """A rounded number for JSON; None for NaN and infinity, which JSON does not have."""
    return round(float(value), places) if math.isfinite(value) else None
