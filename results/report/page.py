"""The report: one HTML file with tables, charts and the details of every run; it needs no network."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import plotly
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from fedprompt.results.errors import RecordError
from fedprompt.results.figures.lines import families
from fedprompt.results.figures.style import assign
from fedprompt.results.io import atomic_write, reason
from fedprompt.results.records import frames as records
from fedprompt.results.records.exported import open_runs
from fedprompt.results.records.selection import ALL, Selection
from fedprompt.results.report import charts
from fedprompt.results.report.charts import number
from fedprompt.results.report.details import METRICS, details
from fedprompt.results.report.headline import headline
from fedprompt.results.statistics import convergence
from fedprompt.results.statistics.best import AMONG_BEST, BEHIND, BEST
from fedprompt.results.statistics.summary import finished, ranking
from fedprompt.results.statistics.trivial import FOOTNOTE
from fedprompt.results.tables.entries import best_notes, legend, tuning_notes
from fedprompt.results.tables.federation import footnotes
from fedprompt.results.tables.leaderboard import leaderboard
from fedprompt.results.tables.render import render

NAMES = ["method", "setting", "seed"]  # of a round or client, in the charts


def write(
    directory: str | Path,
    out: str | Path | None = None,
    unreadable: records.Unreadable | None = None,
    selection: Selection = ALL,
) -> Path:
    """Write the report of a directory of runs and return its path.

    Args:
        directory: The runs.
        out: The file to write; default: `directory`/report.html.
        unreadable: Called for each run that cannot be read, which is then left out.
        selection: The runs, and the metrics of those in `METRICS`.

    Raises:
        RecordError: No run is finished, or chosen, a record cannot be read, or the file cannot be written.
    """
    target = Path(directory, "report.html") if out is None else Path(out)
    page = build(directory, unreadable, selection)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, page)
    except OSError as error:
        raise RecordError(f"{target} cannot be written: {reason(error)}; choose another file with --out") from error
    return target


def build(directory: str | Path, unreadable: records.Unreadable | None = None, selection: Selection = ALL) -> str:
    """The report of a directory of runs as HTML; see `write`."""
    metrics = selection.metrics_of(METRICS) or list(METRICS)
    source = open_runs(directory, selection.run_ids(directory, unreadable), unreadable)
    runs = source.frame
    done = finished(runs)
    methods = ranking(done, "seen.mean")
    methods += sorted(set(runs["method"]) - set(methods))
    settings, styles, table = (
        list(dict.fromkeys(runs["setting"])),
        assign(runs["method"]),
        leaderboard(runs, metrics, intervals=False),
    )
    boards = [board(table, metric, methods, settings) for metric in metrics]
    entries = [entry for rows in boards for row in rows for entry in row]
    shown = ((FOOTNOTE, "below"), (convergence.FOOTNOTE, "climbing"))
    footnote = "".join(f" {text}." for text, mark in shown if any(entry[mark] for entry in entries))
    data = {
        "settings": settings,
        "methods": methods,
        "metrics": [METRICS[name] for name in metrics],
        "templates": {theme: charts.template(methods, styles, dark=theme == "dark") for theme in ("light", "dark")},
        "heat": [charts.heat_map(entries, methods, settings) for entries in boards],
        "curves": charts.curves(source.rounds(["round", "seen_mean"], NAMES), methods),
        "clients": charts.sorted_clients(source.clients(["held_out", "accuracy"], NAMES), methods),
        "costs": charts.costs(done, methods),
        "partition": charts.partitions(source.first_seed_clients()),
        "latex": render(table, "latex"),
        **details(runs, source.folders, source.records, metrics),
    }
    environment = Environment(loader=PackageLoader("fedprompt.results.report", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("page.html.j2").render(
        name=Path(directory).resolve().name,
        sentences=headline(runs),
        notes=[
            *best_notes(table),
            *legend(table, "Bold", "~"),
            *table.attrs["exclusions"],
            *footnotes(table),
            *tuning_notes(table),
        ],
        footnote=footnote,
        finished=len(done),
        failed=len(runs) - len(done),
        settings=settings,
        methods=methods,
        families=families(runs),
        uploads=uploads(done),
        metrics=data["metrics"],
        boards=boards,
        costs=done.groupby("method")[["upload_mb", "seconds"]].mean().to_dict("index"),
        style=_part("page.css"),
        script=_part("page.js"),
        plotly=packed((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()),
        data=packed(json.dumps(data, separators=(",", ":"), allow_nan=False).encode()),
    )


def board(table: pd.DataFrame, metric: str, methods: list[str], settings: list[str]) -> list[list[dict[str, Any]]]:
    """The entries of one metric of a `leaderboard`, [methods][settings].

    An entry holds `mean` and `std` over seeds in percent (None without a value), the number of `seeds` and of `failed`
    runs, whether the method is the `best` of its setting, whether it is `close`, which means among the best of a
    setting in which some methods are not, whether it is `below` majority, and for the first metric, whether the method
    is still `climbing`.
    """
    table, columns = pd.DataFrame(table), []  # without `attrs`, of which pandas makes a copy with every selection
    for setting in settings:
        part = table[setting][metric].reindex(methods)
        excluded = BEHIND in set(part.get("mark", ()))
        columns.append([_entry(row, excluded) for row in part.to_dict("records")])
    return [list(row) for row in zip(*columns, strict=True)]


def uploads(runs: pd.DataFrame) -> dict[str, str]:
    """The kinds of what clients upload in any run of each method."""
    texts = runs.groupby("method")["uploads"].unique().to_dict()
    return {str(method): ", ".join(dict.fromkeys(", ".join(own).split(", "))) for method, own in texts.items()}


def _entry(row: dict[Any, Any], excluded: bool) -> dict[str, Any]:
    return {
        **{name: number(100 * row[name], 2) for name in ("mean", "std")},
        **{name: int(row[name]) for name in ("seeds", "failed")},
        "best": row.get("mark") == BEST,
        "close": excluded and row.get("mark") == AMONG_BEST,
        "below": row.get("below_majority") is True,
        "climbing": row.get("climbing") is True,
    }


def packed(content: bytes) -> Markup:
    """Compressed and encoded as text that needs no escaping."""
    return Markup(base64.b64encode(gzip.compress(content, mtime=0)).decode())


def _part(name: str) -> Markup:
    """A file of this package; it needs no escaping."""
    return Markup(Path(__file__).with_name(name).read_text(encoding="utf-8"))
