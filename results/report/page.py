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
from fedprompt.results.figures.inputs import families
from fedprompt.results.figures.method_styles import BEST, CROWD, SOUGHT, assign
from fedprompt.results.io import atomic_write, reason
from fedprompt.results.records import frames as records
from fedprompt.results.records.exported import open_runs
from fedprompt.results.records.selection import ALL, Selection
from fedprompt.results.report import charts
from fedprompt.results.report.details import details
from fedprompt.results.report.headline import headline
from fedprompt.results.report.metrics import CLIENT_COLUMNS, METRICS, ROUND_COLUMNS
from fedprompt.results.report.protocol import protocol
from fedprompt.results.report.scores import Score, board, packed_scores
from fedprompt.results.report.side_by_side import differences
from fedprompt.results.statistics import convergence, trivial
from fedprompt.results.statistics.pairs import ALL_SETTINGS
from fedprompt.results.statistics.summary import finished
from fedprompt.results.tables.entries import PER_RUN, Block, best_notes, blocks, legend, tuning_notes
from fedprompt.results.tables.federation import footnotes
from fedprompt.results.tables.leaderboard import leaderboard

NAMES = ["method", "setting", "seed"]  # of a round or client, in the charts
# The page's script, in the order of its parts.
SCRIPT = ("elements", "filters", "board", "formats", "copying", "runs", "charts", "pairs", "view")


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
    table, sentences = leaderboard(runs, metrics, overall=True), headline(runs)
    methods, settings = [str(name) for name in table.index], list(dict.fromkeys(runs["setting"]))
    columns = [*settings, ALL_SETTINGS if len(settings) > 1 else settings[0]]  # of one setting the mean is its own
    shown = blocks(table)
    boards = [board(table, shown, metric, place, columns) for place, metric in enumerate(metrics)]
    name, notes = Path(directory).resolve().name, _notes(table)
    data = {
        "name": name,
        "notes": notes,
        "settings": settings,
        "columns": columns,
        "methods": methods,
        "sought": SOUGHT,
        "best": BEST,
        "crowd": CROWD,
        "metrics": [
            {"id": metric, **METRICS[metric]._asdict(), "clients": METRICS[metric].clients} for metric in metrics
        ],
        "scores": [packed_scores(rows) for rows in boards],
        **_charts(source, done, methods),
        "pairs": differences(done, metrics, methods),
        **details(runs, source.folders, source.records, metrics),
    }
    environment = Environment(loader=PackageLoader("fedprompt.results.report", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("page.html.j2").render(
        name=name,
        protocol=protocol(source.records),
        sentences=sentences,
        notes=notes,
        footnote=_footnote(boards),
        finished=len(done),
        failed=len(runs) - len(done),
        settings=settings,
        methods=methods,
        families=families(runs),
        uploads=uploads(done),
        metrics=data["metrics"],
        boards=boards,
        costs=_costs(table, shown),
        style=_part("page.css"),
        script=Markup("\n").join(_part(f"script/{part}.js") for part in SCRIPT),
        plotly=packed((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()),
        data=packed(json.dumps(data, separators=(",", ":"), allow_nan=False).encode()),
    )


def _charts(source: records.Runs, done: pd.DataFrame, methods: list[str]) -> dict[str, Any]:
    styles = assign(source.frame["method"])
    return {
        "templates": {theme: charts.template(methods, styles, dark=theme == "dark") for theme in ("light", "dark")},
        "heat": charts.heat_map(),
        "curves": charts.curves(source.rounds(["round", *ROUND_COLUMNS], NAMES)),
        "clients": charts.sorted_clients(source.clients(["held_out", "rounds_trained", *CLIENT_COLUMNS], NAMES)),
        "costs": charts.costs(done),
        "partition": charts.partitions(source.first_seed_clients()),
    }


def _notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the leaderboard needs to know."""
    marks = legend(table, "Bold", "~")
    return [*best_notes(table), *marks, *table.attrs["exclusions"], *footnotes(table), *tuning_notes(table)]


def _footnote(boards: list[list[list[Score]]]) -> str:
    """The meaning of the marks in charts, as far as there are any."""
    marks = {mark for rows in boards for row in rows for score in row for mark in score.marks}
    texts = ((trivial.FOOTNOTE, trivial.BELOW), (convergence.FOOTNOTE, convergence.CLIMBING))
    return "".join(f" {text}." for text, mark in texts if mark in marks)


def _costs(table: pd.DataFrame, shown: list[Block]) -> dict[str, list[tuple[float, str]]]:
    """By method: the number and the text of each of the table's costs."""
    (block,) = (block for block in shown if block.setting == PER_RUN)
    numbers = pd.DataFrame(table)[PER_RUN].to_numpy(float)
    texts = zip(*([entry.value for entry in column] for column in block.columns), strict=True)
    rows = zip(table.index, numbers, texts, strict=True)
    return {str(name): list(zip(own.tolist(), text, strict=True)) for name, own, text in rows}


def uploads(runs: pd.DataFrame) -> dict[str, str]:
    """The kinds of what clients upload in any run of each method."""
    texts = runs.groupby("method")["uploads"].unique().to_dict()
    return {str(method): ", ".join(dict.fromkeys(", ".join(own).split(", "))) for method, own in texts.items()}


def packed(content: bytes) -> Markup:
    """Compressed and encoded as text that needs no escaping."""
    return Markup(base64.b64encode(gzip.compress(content, mtime=0)).decode())


def _part(name: str) -> Markup:
    """A file of this package; it needs no escaping."""
    return Markup((Path(__file__).parent / name).read_text(encoding="utf-8"))
