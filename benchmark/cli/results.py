"""`bench status`, `bench table`, `bench figure` and `bench report`: what a directory of runs says."""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="a directory of runs")]
Json = Annotated[bool, typer.Option("--json", help="machine-readable output")]
FOLLOW_EVERY = 2.0  # seconds


def status(
    directory: Directory,
    follow: Annotated[bool, typer.Option("--follow", help="go on telling until nothing runs any more")] = False,
    as_json: Json = False,
) -> int:
    """Which runs of a directory are done, running and where, or failed and why; and those made by other code."""
    from fedprompt.benchmark.runs.status import directory_status

    if follow:
        _follow(directory)
    found = directory_status(directory)
    if as_json:
        print(json.dumps(found, indent=1))
        return 0
    running, left = found["running"], found["abandoned"]
    parts = [f"{found['done']} done", f"{found['failed']} failed"]
    parts += [f"{len(running)} running"] * bool(running) + [f"{len(left)} abandoned"] * bool(left)
    print(f"{directory}: {', '.join(parts)}")
    for run in running:
        reached = f", round {run['round']}/{run['rounds']}" if "round" in run else ""
        print(f"  running: {run['name']} on {run['worker'] or run['driver']}{reached}")
    for run in left:
        print(f"  abandoned: {run['name']} by {run['driver']}, which is gone; the same sweep takes it over")
    for row in found["failures"]:
        setting = row["partition"] if row["alpha"] is None else f"{row['partition']}({row['alpha']:g})"
        kind = "failed" if row["error_kind"] in (None, "exception") else f"failed ({row['error_kind']})"
        print(f"  {kind}: {row['method']} on {row['dataset']} {setting} seed {row['seed']}: {row['error']}")
        print(f"    {row['log']}")
    for commit, runs in found["other_commits"].items():
        print(
            f"  {len(runs)} runs were made by commit {commit or 'unknown'}, not by this code: {', '.join(runs[:3])} ..."
        )
    return 0


def _follow(directory: Path) -> None:
    """Prints how far every driver of the directory is whenever that changes, until there is none."""
    from fedprompt.benchmark.runs.driver_status import active_drivers
    from fedprompt.benchmark.sweep.progress import line

    told: dict[str, str] = {}
    while drivers := active_drivers(directory):
        for driver, progress in drivers.items():
            text = line(progress)
            if told.get(driver) != text:
                told[driver] = text
                print(f"{driver}: {text}", file=sys.stderr, flush=True)
        time.sleep(FOLLOW_EVERY)


def table(
    directory: Directory,
    kind: Annotated[str, typer.Option("--format", help="text, csv, md, latex or json")] = "text",
    metric: Annotated[
        list[str] | None, typer.Option(help="as seen.mean, held_out.worst, prior.seen.mean, upload_mb or seconds")
    ] = None,
    prior: Annotated[bool, typer.Option("--prior", help="a second row a method: with prior-corrected logits")] = False,
    group: Annotated[str | None, typer.Option(help="family: rows in groups of related methods")] = None,
    reference: Annotated[str | None, typer.Option(help="paired differences to this method in place of means")] = None,
    as_json: Json = False,
) -> None:
    """Methods by settings: mean and spread over seeds. Holes show as holes, failed runs as failed."""
    from fedprompt.results.errors import unknown
    from fedprompt.results.records import frames as records
    from fedprompt.results.tables import leaderboard as tables

    if group not in (None, "family"):
        raise unknown("group", str(group), ["family"])
    runs = tables.with_prior(records.load(directory)) if prior else records.load(directory)
    known = [name for name in tables.METRICS if not (prior and name.startswith("prior."))]
    wanted = [name.strip() for words in metric or known for name in words.split(",") if name.strip()]
    board = tables.difference_table(runs, wanted, reference) if reference else tables.leaderboard(runs, wanted)
    board = tables.by_family(board, runs) if group else board
    print(tables.render(board, "json" if as_json else kind))


def figure(
    directory: Directory,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="which (default: all)")] = None,
    formats: Annotated[str, typer.Option("--format", help="png, pdf, svg, or several with commas")] = "png",
    out: Annotated[Path | None, typer.Option(help="folder to draw into (default: DIR/figures)")] = None,
    columns: Annotated[int, typer.Option(help="as wide as 1 or 2 columns of a page")] = 2,
    as_json: Json = False,
) -> None:
    """Draws the figures of a directory, the numbers beside each as csv. What it lacks the data of is left out."""
    from fedprompt.results.figures import drawing as figures

    kinds, tell = formats.split(","), partial(print, file=sys.stderr)
    drawn = [str(path) for path in figures.draw(directory, names or None, out, kinds, None, columns, tell)]
    print(json.dumps(drawn, indent=1) if as_json else "\n".join(drawn))


def report(
    directory: Directory,
    out: Annotated[Path | None, typer.Option(help="the file to write (default: DIR/report.html)")] = None,
    as_json: Json = False,
) -> None:
    """Writes one HTML file that needs no network: who wins, every number, and the runs behind it."""
    from fedprompt.results.report import write

    written = str(write(directory, out))
    print(json.dumps(written) if as_json else written)
