"""The report: one HTML file with tables, charts and the details of every run; it needs no network."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from fedprompt.results.figures.lines import families
from fedprompt.results.figures.style import assign
from fedprompt.results.io import atomic_write
from fedprompt.results.records import frames as records
from fedprompt.results.report import charts
from fedprompt.results.report.details import METRICS, details
from fedprompt.results.report.headline import headline
from fedprompt.results.statistics.pairs import ALPHA, differences
from fedprompt.results.statistics.summary import finished, ranking
from fedprompt.results.tables.entries import tuning_notes
from fedprompt.results.tables.federation import footnotes
from fedprompt.results.tables.leaderboard import leaderboard
from fedprompt.results.tables.render import render


def write(directory: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a directory of runs and return its path.

    Args:
        directory: The runs.
        out: The file to write; default: `directory`/report.html.

    Raises:
        RecordError: No run is finished, or a record cannot be read.
    """
    target = Path(directory, "report.html") if out is None else Path(out)
    page = build(directory)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, page)
    return target


def build(directory: str | Path) -> str:
    """The report of a directory of runs as HTML; see `write`."""
    source = records.Runs(directory)
    runs = source.frame
    done = finished(runs)
    methods = ranking(done, "seen.mean")
    methods += sorted(set(runs["method"]) - set(methods))
    settings, styles, table = list(dict.fromkeys(runs["setting"])), assign(runs["method"]), leaderboard(runs)
    boards = [board(runs, metric, methods, settings) for metric in METRICS]
    means = [[[entry["mean"] for entry in row] for row in rows] for rows in boards]
    data = {
        "settings": settings,
        "methods": methods,
        "metrics": list(METRICS.values()),
        "templates": {theme: charts.template(methods, styles, dark=theme == "dark") for theme in ("light", "dark")},
        "heat": [charts.heat_map(values, methods, settings) for values in means],
        "curves": charts.curves(source.rounds(["round", "seen_mean"]), methods),
        "clients": charts.sorted_clients(source.clients(["held_out", "accuracy"]), methods),
        "costs": charts.costs(done, methods),
        "partition": charts.partitions(source.first_seed_clients()),
        "latex": render(table, "latex"),
        **details(runs, source.folders, source.records),
    }
    environment = Environment(loader=PackageLoader("fedprompt.results.report", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("page.html.j2").render(
        name=Path(directory).resolve().name,
        sentences=headline(runs),
        notes=[*footnotes(table), *tuning_notes(table)],
        finished=len(done),
        failed=len(runs) - len(done),
        settings=settings,
        methods=methods,
        families=families(runs),
        metrics=data["metrics"],
        boards=boards,
        costs=done.groupby("method")[["upload_mb", "seconds"]].mean().to_dict("index"),
        style=_part("page.css"),
        script=_part("page.js"),
        plotly=packed((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()),
        data=packed(json.dumps(data, separators=(",", ":"), allow_nan=False).encode()),
    )


def board(runs: pd.DataFrame, metric: str, methods: list[str], settings: list[str]) -> list[list[dict[str, Any]]]:
    """The entries of a leaderboard, [methods][settings].

    An entry holds `mean` and `std` over seeds in percent (None without a value), the number of `seeds` and of `failed`
    runs, whether it is the `best` of its setting, and whether it is `close`: its paired difference to the best is not
    statistically significant after Holm's correction over the setting.
    """
    done = runs[runs["status"] == "done"]
    groups = done.groupby(["setting", "method"])
    values = groups.agg(mean=(metric, "mean"), std=(metric, "std"), seeds=("seed", "nunique"))
    index = pd.MultiIndex.from_product([settings, methods], names=["setting", "method"])
    table = (100 * values[["mean", "std"]]).round(2).reindex(index).astype(object)
    table = table.where(table.notna(), None)
    table["seeds"] = values["seeds"].reindex(index, fill_value=0).astype(int)
    table["failed"] = runs[runs["status"] != "done"].groupby(["setting", "method"]).size().reindex(index, fill_value=0)
    table[["best", "close"]] = False
    for setting in settings:
        part = done[done["setting"] == setting].dropna(subset=[metric])
        if part.empty:
            continue
        best = str(part.groupby("method")[metric].mean().idxmax())
        table.loc[(setting, best), "best"] = True
        if part["method"].nunique() > 1:
            rows = differences(part, metric, best, np.random.default_rng(0))
            rows = rows[rows["setting"] == setting]
            close = rows.loc[~(rows["p_holm"] <= ALPHA), "method"]
            table.loc[[(setting, str(name)) for name in close], "close"] = True
    entries = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    return [entries[i :: len(methods)] for i in range(len(methods))]


def packed(content: bytes) -> Markup:
    """Compressed and encoded as text that needs no escaping."""
    return Markup(base64.b64encode(gzip.compress(content, mtime=0)).decode())


def _part(name: str) -> Markup:
    """A file of this package; it needs no escaping."""
    return Markup(Path(__file__).with_name(name).read_text(encoding="utf-8"))
