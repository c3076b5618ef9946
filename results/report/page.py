"""The report's page: everything computed here, put into one file by a template."""

import base64
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from fedprompt.results.figures.style import assign, highlighted
from fedprompt.results.records import frames as records
from fedprompt.results.report import content
from fedprompt.results.report.details import details
from fedprompt.results.report.headline import headline
from fedprompt.results.statistics.pairs import ALPHA, differences
from fedprompt.results.statistics.summary import finished, ranking
from fedprompt.results.tables.entries import tuning_notes
from fedprompt.results.tables.leaderboard import leaderboard
from fedprompt.results.tables.render import render


def write(directory: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a directory of runs to `out` (default: `directory`/report.html), and return its path.

    Raises RecordError for records that cannot be read and where no run is finished.
    """
    target = Path(directory, "report.html") if out is None else Path(out)
    page = build(directory)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        unfinished.write_text(page, encoding="utf-8")
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def build(directory: str | Path) -> str:
    """The page as text."""
    read = records.Runs(directory)
    runs = read.frame
    done = finished(runs)
    methods = ranking(done, "seen.mean")
    methods += sorted(set(runs["method"]) - set(methods))
    table = leaderboard(runs)
    data = {
        "settings": list(dict.fromkeys(runs["setting"])),
        "methods": methods,
        "bold": highlighted(methods),
        "metrics": list(content.METRICS.values()),
        "board": board(runs, methods),
        "looks": content.looks(assign(runs["method"])),
        "curves": content.curves(read.rounds(["round", "seen_mean"])),
        "shares": (100 * content.SHARES).tolist(),
        "clients": content.sorted_clients(read.clients(["held_out", "accuracy"])),
        "costs": content.costs(done),
        "partitions": content.partitions(read.first_seed_clients()),
        "latex": render(table, "latex"),
        **details(runs, read.folders, read.records),
    }
    environment = Environment(loader=PackageLoader("fedprompt.results.report", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("page.html.j2").render(
        name=Path(directory).resolve().name,
        sentences=headline(runs),
        tuning=tuning_notes(table),
        counts={"done": len(done), "failed": int((runs["status"] != "done").sum()), "methods": len(methods)},
        settings=data["settings"],
        methods=methods,
        families=_families(runs),
        metrics=list(content.METRICS.values()),
        board=data["board"],
        costs=_costs(done),
        style=_part("page.css"),
        script=_part("page.js"),
        plotly=packed((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()),
        data=packed(json.dumps(data, separators=(",", ":"), allow_nan=False).encode()),
    )


def board(runs: pd.DataFrame, methods: list[str]) -> list[list[list[dict[str, Any]]]]:
    """[metric][method][setting]: what a place of the leaderboard shows, for each of `content.METRICS`.

    `mean` and `std` in percent (None: no value), `seeds`, `failed`, and `open`: whether the paired difference to the
    best of the setting, Holm-corrected over all, is not resolved.
    """
    settings = list(dict.fromkeys(runs["setting"]))
    return [_places(runs, metric, methods, settings) for metric in content.METRICS]


def _places(runs: pd.DataFrame, metric: str, methods: list[str], settings: list[str]) -> list[list[dict[str, Any]]]:
    done = runs[runs["status"] == "done"]
    found = {
        (str(method), str(setting)): (float(part[metric].mean()), float(part[metric].std()), part["seed"].nunique())
        for (method, setting), part in done.groupby(["method", "setting"])
    }
    failed = runs[runs["status"] != "done"].groupby(["method", "setting"]).size()
    open_ = _open(done, metric, settings)
    rows = []
    for method in methods:
        row = []
        for setting in settings:
            mean, std, seeds = found.get((method, setting), (np.nan, np.nan, 0))
            row.append(
                {
                    "mean": content.number(100 * mean, 2),
                    "std": content.number(100 * std, 2),
                    "seeds": int(seeds),
                    "failed": int(failed.get((method, setting), 0)),
                    "best": (method, setting) in open_ and open_[method, setting] is None,
                    "open": bool(open_.get((method, setting))),
                }
            )
        rows.append(row)
    return rows


def _open(done: pd.DataFrame, metric: str, settings: list[str]) -> dict[tuple[str, str], bool | None]:
    """By method and setting, whether its difference to the setting's best is unresolved; None for the best itself."""
    found: dict[tuple[str, str], bool | None] = {}
    for setting in settings:
        part = done[(done["setting"] == setting)].dropna(subset=[metric])
        if part.empty:
            continue
        best = str(part.groupby("method")[metric].mean().idxmax())
        found[best, setting] = None
        if part["method"].nunique() > 1:
            rows = differences(part, metric, best, np.random.default_rng(0))
            rows = rows[rows["setting"] == setting]
            found |= {(m, setting): not p <= ALPHA for m, p in zip(rows["method"], rows["p_holm"], strict=True)}
    return found


def _families(runs: pd.DataFrame) -> dict[str, str]:
    return dict(zip(runs["method"], runs["family"], strict=True)) if "family" in runs else {}


def _costs(done: pd.DataFrame) -> dict[str, dict[Any, Any]]:
    means = done.groupby("method")[["upload_mb", "seconds"]].mean()
    return {str(row["method"]): row for row in means.reset_index().to_dict("records")}


def packed(content: bytes) -> Markup:
    """Compressed, as text that can stand in a page as it is."""
    return Markup(base64.b64encode(gzip.compress(content, mtime=0)).decode())


def _part(name: str) -> Markup:
    """One of our own files, which needs no escaping."""
    return Markup(Path(__file__).with_name(name).read_text(encoding="utf-8"))
