"""`bench status`, `bench table`, `bench figure` and `bench report`."""

import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedprompt.benchmark.cli.common_options import Directory, Json, Unreadable
from fedprompt.benchmark.cli.selection_options import selection_options

if TYPE_CHECKING:
    from fedprompt.results.records.selection import Selection

FOLLOW_EVERY = 2.0  # seconds


def status(
    directory: Directory,
    follow: Annotated[bool, typer.Option("--follow", help="report progress until nothing runs")] = False,
    as_json: Json = False,
) -> int:
    """Show which runs of a directory are done, running, failed (and why), or made by other code."""
    from fedprompt.benchmark.runs.status import directory_status

    if follow:
        _follow(directory)
    state = directory_status(directory)
    if as_json:
        print(json.dumps(state, indent=1))
    else:
        _print_status(directory, state)
    unreadable = Unreadable()
    for error in state["unreadable"]:
        unreadable(error)
    return unreadable.code


def _print_status(directory: Path, state: Mapping[str, Any]) -> None:
    running, abandoned = state["running"], state["abandoned"]
    parts = [f"{state['done']} done", f"{state['failed']} failed"]
    parts += [f"{len(running)} running"] * bool(running) + [f"{len(abandoned)} abandoned"] * bool(abandoned)
    print(f"{directory}: {', '.join(parts)}")
    for run in running:
        reached = f", round {run['round']}/{run['rounds']}" if "round" in run else ""
        print(f"  running: {run['name']} on {run['worker'] or run['driver']}{reached}")
    for run in abandoned:
        print(f"  abandoned: {run['name']} by {run['driver']}, which has ended; repeat the sweep to resume it")
    for row in state["failures"]:
        setting = row["partition"] if row["alpha"] is None else f"{row['partition']}({row['alpha']:g})"
        kind = "failed" if row["error_kind"] in (None, "exception") else f"failed ({row['error_kind']})"
        print(f"  {kind}: {row['method']} on {row['dataset']} {setting} seed {row['seed']}: {row['error']}")
        print(f"    {row['log']}")
    for commit, runs in state["other_commits"].items():
        print(f"  {len(runs)} runs were made by another commit, {commit or 'unknown'}: {', '.join(runs[:3])} ...")


def _follow(directory: Path) -> None:
    """Prints the progress of each driver of the directory whenever it changes, until no driver is left."""
    from fedprompt.benchmark.runs.driver_status import active_drivers
    from fedprompt.benchmark.scheduling.progress import line

    printed: dict[str, str] = {}
    while drivers := active_drivers(directory):
        for driver, progress in drivers.items():
            text = line(progress)
            if printed.get(driver) != text:
                printed[driver] = text
                print(f"{driver}: {text}", file=sys.stderr, flush=True)
        time.sleep(FOLLOW_EVERY)


@selection_options
def table(
    selection: "Selection",
    directory: Directory,
    kind: Annotated[str, typer.Option("--format", help="text, csv, md, latex or json")] = "text",
    prior: Annotated[bool, typer.Option("--prior", help="add a row per method with prior-corrected logits")] = False,
    group: Annotated[str | None, typer.Option(help="family: group rows by related methods")] = None,
    reference: Annotated[str | None, typer.Option(help="paired differences to this method instead of means")] = None,
    as_json: Json = False,
) -> int:
    """Print methods by settings: mean and spread over seeds. Missing and failed runs are marked."""
    from fedprompt.results.errors import unknown
    from fedprompt.results.records import frames
    from fedprompt.results.records.selection import metrics as metrics_of_runs
    from fedprompt.results.tables import leaderboard as tables

    if group not in (None, "family"):
        raise unknown("group", str(group), ["family"])
    unreadable = Unreadable()
    loaded = frames.load(directory, selection.run_ids(directory, unreadable), unreadable)
    runs = tables.with_prior(loaded) if prior else loaded
    default = [name for name in tables.default_metrics(runs) if not (prior and name.startswith("prior."))]
    metrics = selection.metrics_of(metrics_of_runs(runs, valued=False)) or default
    if reference:
        board = tables.difference_table(runs, metrics, reference)
    else:
        board = tables.leaderboard(runs, metrics, intervals=as_json or kind in ("csv", "json"))
    board = tables.by_family(board, runs) if group else board
    print(tables.render(board, "json" if as_json else kind))
    return unreadable.code


@selection_options
def figure(
    selection: "Selection",
    directory: Directory,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="figures (default: all)")] = None,
    formats: Annotated[str, typer.Option("--format", help="png, pdf, svg, or several separated by commas")] = "png",
    out: Annotated[Path | None, typer.Option(help="output folder (default: DIR/figures)")] = None,
    columns: Annotated[int, typer.Option(help="width: 1 or 2 columns of a page; both are 5.5 inches for neurips")] = 2,
    style: Annotated[
        str | None, typer.Option(help="widths of neurips, icml, ieee or cvpr (default: 3.4 or 7 inches)")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="draw the figure differences: all methods minus this one, paired by seed")
    ] = None,
    prior: Annotated[
        bool, typer.Option("--prior", help="rows of prior-corrected logits in the figure differences")
    ] = False,
    as_json: Json = False,
) -> int:
    """Draw the figures of a directory or an export, each with its numbers as csv. Figures without data are skipped.

    With --reference METHOD, the figure differences shows how far the other methods are from this one in each setting:
    one row per method, one panel each for the mean of seen clients, of held-out clients, and the worst seen client.
    With --prior, also METHOD+prior minus the reference, and both corrected.

    With --style, figures have the width of that style's column (--columns 1) or text (--columns 2): included without
    scaling, their text has 7 points or more.
    """
    from fedprompt.results.figures import drawing
    from fedprompt.results.figures.style import SEEN
    from fedprompt.results.records import frames
    from fedprompt.results.records.selection import accuracies

    kinds, note, unreadable = formats.split(","), partial(print, file=sys.stderr), Unreadable()
    run_ids, metrics = selection.run_ids(directory, unreadable), [SEEN]
    if selection.metrics:
        metrics = selection.metrics_of(accuracies(frames.load(directory, run_ids, unreadable)))
    drawn = [
        str(path)
        for metric in metrics
        for path in drawing.draw(
            directory, names or None, out, kinds, run_ids, columns, note, unreadable, metric, style, reference, prior
        )
    ]
    print(json.dumps(drawn, indent=1) if as_json else "\n".join(drawn))
    return unreadable.code


@selection_options
def report(
    selection: "Selection",
    directory: Directory,
    out: Annotated[Path | None, typer.Option(help="output file (default: DIR/report.html)")] = None,
    as_json: Json = False,
) -> int:
    """Write one HTML file that needs no network: the ranking, all numbers, and their runs."""
    import gc

    from fedprompt.results.report import write

    gc.set_threshold(50_000, 20, 100)  # thousands of records are millions of objects without cycles
    unreadable = Unreadable()
    written = str(write(directory, out, unreadable, selection))
    print(json.dumps(written) if as_json else written)
    return unreadable.code
