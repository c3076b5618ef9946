"""`bench retry`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprompt.benchmark.cli.running import finish
from fedprompt.benchmark.cli.sweep_options import term_options
from fedprompt.benchmark.runs.store import Store

if TYPE_CHECKING:
    from fedprompt.benchmark.sweep.options import SweepOptions


@term_options
def retry(
    terms: "SweepOptions",
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="a directory of runs")],
    plugin: Annotated[list[str] | None, typer.Option(help="the plug-ins that the failed runs came with")] = None,
) -> int:
    """Runs what failed in a directory again, each as its record configures it."""
    from fedprompt.benchmark.runs.retry import failed_runs

    store = Store(directory)
    pending = failed_runs(store, plugin or ())
    print(f"{len(pending)} failed runs in {directory}", file=sys.stderr)
    return finish(pending, store, terms, [entry.run_id for entry in store.entries()]) if pending else 0
