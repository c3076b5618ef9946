"""The report's charts as Plotly figures in JSON, small enough for thousands of runs.

A chart is `{"data": traces, "layout": layout, "table": rows}`; `table` holds the numbers shown, its headings first.
Line and point charts have one trace per method, in one order: the look of trace i is entry i of the page's `template`.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import NDArray

from fedprompt.results.figures.style import ACCURACY, LINES, MARKERS, Style, Styles, highlighted
from fedprompt.results.statistics.convergence import CLIMBING, with_climbing
from fedprompt.results.statistics.summary import over_seeds
from fedprompt.results.statistics.trivial import BELOW, below_majority

MAX_POINTS = 60  # per curve
SHARES = np.linspace(0, 1, 41)  # of the clients, worst first
MAX_CLIENTS, MAX_CLASSES = 100, 100  # shown of a partition
CLEAR = "rgba(0, 0, 0, 0)"  # the page's background shows through
# Plotly's names for the markers and lines of the figures.
SYMBOLS: tuple[str, ...] = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
SYMBOLS += ("triangle-left", "triangle-right", "pentagon", "star")
DASHES = ("solid", "dash", "dot", "dashdot")
Chart = dict[str, Any]


def template(methods: Sequence[str], styles: Styles, dark: bool = False) -> dict[str, Any]:
    """The defaults of all charts: colours of the page's theme, and one trace look per method in the order given."""
    ink, grid = ("#e6eaee", "#3a434d") if dark else ("#1b1f24", "#d0d7de")  # --ink and --line of page.css
    axis = {"gridcolor": grid, "zeroline": False, "automargin": True}
    visible = highlighted(methods)
    looks = [
        {"name": escape(name), "visible": True if name in visible else "legendonly", **_look(styles[name], dark)}
        for name in methods
    ]
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


def _look(style: Style, dark: bool) -> dict[str, Any]:
    red, green, blue = ((part + 1) / 2 if dark else part for part in to_rgb(style.colour))
    colour = to_hex((red, green, blue))
    return {
        "line": {"color": colour, "dash": DASHES[LINES.index(style.line)], "width": 2},
        "marker": {"color": colour, "symbol": SYMBOLS[MARKERS.index(style.marker)], "size": 8},
    }


def heat_map(entries: list[list[dict[str, Any]]], methods: Sequence[str], settings: Sequence[str]) -> Chart:
    """Methods by settings; `entries` [methods][settings] of `page.board`: `mean` in percent, None without a value."""
    means, marks = [], []
    for row in entries:
        means.append([entry["mean"] for entry in row])
        marks.append([BELOW * entry["below"] + CLIMBING * entry["climbing"] for entry in row])
    trace = go.Heatmap(
        x=[escape(name) for name in settings], y=[escape(name) for name in methods], z=means, xgap=1, ygap=1,
        text=marks, texttemplate="%{text}", reversescale=False, colorbar_title_text="%",
        hovertemplate="%{y}<br>%{x}<br>%{z:.1f} %<extra></extra>",
    )  # fmt: skip
    axis = {"type": "category", "showgrid": False, "dtick": 1}
    columns = axis | {"tickangle": 90 if len(settings) > 6 else 0}
    rows = axis | {"autorange": "reversed"}
    return _chart([trace], go.Layout(xaxis=columns, yaxis=rows, height=130 + 19 * len(methods)), [])


def curves(rounds: pd.DataFrame, methods: Sequence[str]) -> dict[str, Chart]:
    """Per setting: mean accuracy of the seen clients over the rounds, with its standard deviation over seeds."""
    data = over_seeds(rounds, ["setting", "method", "round"], "seen_mean").sort_values("round")
    charts = {}
    for setting, rows in data.groupby("setting", sort=False):
        parts = {str(name): part.iloc[_spread(len(part), MAX_POINTS)] for name, part in rows.groupby("method")}
        lines = {
            name: go.Scatter(
                x=part["round"].tolist(), y=percent(part["mean"]), customdata=percent(part["std"].fillna(0)),
                mode="lines" if len(part) > 12 else "lines+markers",
                hovertemplate="%{y:.1f} ±%{customdata:.1f} % in round %{x}",
            )
            for name, part in parts.items()
        }  # fmt: skip
        means = pd.concat(parts.values()).pivot(index="round", columns="method", values="mean")
        table = [["method", *means.index], *([name, *percent(means[name])] for name in methods if name in parts)]
        charts[str(setting)] = _chart(_ordered(lines, methods), _layout("round", ACCURACY), table)
    return charts


def sorted_clients(clients: pd.DataFrame, methods: Sequence[str]) -> dict[str, Chart]:
    """Per setting: the accuracy at each of `SHARES` of the seen clients, worst first, all seeds pooled."""
    seen = clients[~clients["held_out"].astype(bool)].dropna(subset=["accuracy"])
    shares, hover = (100 * SHARES).tolist(), "%{x:.0f} % of the clients have %{y:.1f} % or less"
    charts = {}
    for setting, rows in seen.groupby("setting", sort=False):
        found = {str(name): percent(np.quantile(part, SHARES)) for name, part in rows.groupby("method")["accuracy"]}
        lines = {name: go.Scatter(x=shares, y=y, mode="lines", hovertemplate=hover) for name, y in found.items()}
        headings = ["method", *(f"{share:g} %" for share in shares[::10])]
        table: list[list[Any]] = [headings, *([name, *found[name][::10]] for name in methods if name in found)]
        layout = _layout("seen clients, worst first (%)", "accuracy (%)")
        charts[str(setting)] = _chart(_ordered(lines, methods), layout, table)
    return charts


def costs(done: pd.DataFrame, methods: Sequence[str]) -> dict[str, Chart]:
    """Per setting: accuracy against MB uploaded, means over seeds; methods that upload nothing at the left edge.

    Arrows mark accuracies below that of `majority` and methods that still climb.
    """
    columns = ["seen.mean", "held_out.mean", "upload_mb", "seconds"]
    means = done.groupby(["setting", "method"], sort=False)[columns].mean().dropna(subset=["seen.mean"])
    means = means.round({"upload_mb": 4, "seconds": 2})
    flat = with_climbing(means.reset_index(), done)
    marks = zip(below_majority(flat, "seen.mean").tolist(), flat["climbing"].tolist(), strict=True)
    means["arrows"] = [BELOW * below + CLIMBING * climbing for below, climbing in marks]
    charts = {}
    for setting, rows in means.groupby("setting", sort=False):
        rows = rows.droplevel("setting")
        sent = rows.loc[rows["upload_mb"] > 0, "upload_mb"]
        least = sent.min() / 3 if len(sent) else 1.0
        table: list[list[Any]] = [["method", "seen (%)", "held-out (%)", "MB uploaded", "seconds"]]
        numbers = dict(zip(rows.index, rows[columns].to_numpy(float), strict=True))
        arrows, points = dict(rows["arrows"]), {}
        for name in (name for name in methods if name in numbers):
            seen, held_out, *cost = numbers[name]
            table.append([name, *percent([seen, held_out]), *(number(value, 4) for value in cost)])
            points[name] = go.Scatter(
                x=[table[-1][3] or least], y=[table[-1][1]], customdata=[table[-1][3:]], visible=True,
                mode="markers+text", text=arrows[name], textposition="middle right",
                hovertemplate="%{y:.1f} %, %{customdata[0]:.3g} MB uploaded, %{customdata[1]:.1f} s",
            )  # fmt: skip
        layout = _layout("uploaded per run (MB)", ACCURACY, type="log")
        charts[str(setting)] = _chart(_ordered(points, methods), layout, table)
    return charts


def partitions(clients: pd.DataFrame) -> dict[str, Chart]:
    """Per setting, of its first run: training samples by class and client, held-out clients right of a line.

    Of many clients every n-th is shown; of many classes neighbours are summed.
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
        layout = _layout(title, "class", type="category", showgrid=False)
        layout.update(yaxis_type="category", yaxis_showgrid=False)
        if shown["held_out"].any():
            border = int((~shown["held_out"].astype(bool)).sum()) - 0.5
            layout.shapes = [{"type": "line", "x0": border, "x1": border, "y0": 0, "y1": 1, "yref": "paper"}]
        names = shown["client"].astype(str) + np.where(shown["held_out"], " (held out)", "")
        lines = [[name, *samples] for name, samples in zip(names, counts.T.tolist(), strict=True)]
        charts[str(setting)] = _chart([trace], layout, [["client", *(f"class {i}" for i in classes)], *lines])
    return charts


def _chart(traces: Sequence[Any], layout: go.Layout, table: list[list[Any]]) -> Chart:
    return {"data": [trace.to_plotly_json() for trace in traces], "layout": layout.to_plotly_json(), "table": table}


def _layout(xlabel: str, ylabel: str, **xaxis: Any) -> go.Layout:
    return go.Layout(xaxis={"title": {"text": xlabel}, **xaxis}, yaxis_title_text=ylabel)


def _ordered(traces: dict[str, Any], methods: Sequence[str]) -> list[Any]:
    """One trace per method, empty for a method without data."""
    return [traces.get(name, go.Scatter()) for name in methods]


def _spread(length: int, most: int) -> NDArray[np.int64]:
    """At most `most` places of a sequence, evenly spaced, both ends included."""
    return np.unique(np.linspace(0, length - 1, most).round().astype(int))


def percent(shares: Iterable[float]) -> list[float | None]:
    """Shares in percent, rounded to two places; None for NaN."""
    return [number(100 * share, 2) for share in shares]


def number(value: float, places: int) -> float | None:
    """A rounded number for JSON; None for NaN and infinity, which JSON does not have."""
    return round(float(value), places) if math.isfinite(value) else None
