"""`bench status`, `bench table` and `bench figure`: what a directory of runs says."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="a directory of runs")]
Json = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def status(directory: Directory, as_json: Json = False) -> int:
    """Which runs of a directory are done or failed, and why."""
    from benchmark.store import Store

    entries = Store(directory).entries()
    failed = [_failure(entry.result) for entry in entries if entry.status != "done"]
    counts = Counter(entry.status for entry in entries)
    if as_json:
        print(json.dumps({"done": counts["done"], "failed": counts["failed"], "failures": failed}, indent=1))
        return 0
    print(f"{directory}: {counts['done']} done, {counts['failed']} failed")
    for row in failed:
        cell = row["partition"] if row["alpha"] is None else f"{row['partition']}({row['alpha']:g})"
        print(f"  failed: {row['method']} on {row['dataset']} {cell} seed {row['seed']}: {row['error']}")
        print(f"    {row['log']}")
    return 0


def _failure(result: dict[str, Any]) -> dict[str, Any]:
    keys = ("run_id", "method", "dataset", "partition", "alpha", "seed", "error")
    return {key: result[key] for key in keys} | {"log": f"{result['run_id']}/log.txt"}


def table(
    directory: Directory,
    kind: Annotated[str, typer.Option("--format", help="text, csv, md, latex or json")] = "text",
    metric: Annotated[list[str] | None, typer.Option(help="as seen.mean,held_out.worst or prior.seen.mean")] = None,
    as_json: Json = False,
) -> None:
    """Methods by cells: mean and spread over seeds. Holes show as holes, failed runs as failed."""
    from results import records
    from results.table import METRICS, leaderboard, render

    wanted = [name.strip() for words in metric or METRICS for name in words.split(",") if name.strip()]
    board = leaderboard(records.load(directory), wanted)
    print(render(board, "json" if as_json else kind))


def figure(
    directory: Directory,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="which (default: all)")] = None,
    formats: Annotated[str, typer.Option("--format", help="png, pdf, svg, or several with commas")] = "png",
    out: Annotated[Path | None, typer.Option(help="folder to draw into (default: DIR/figures)")] = None,
    as_json: Json = False,
) -> None:
    """Draws the figures of a directory, the numbers beside each as csv."""
    from results import figures

    drawn = [str(path) for path in figures.draw(directory, names or None, out, formats.split(","))]
    print(json.dumps(drawn, indent=1) if as_json else "\n".join(drawn))
