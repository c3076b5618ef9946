"""`bench retry`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.running import (
    Address,
    CheckpointEvery,
    CpusPerRun,
    GpusPerRun,
    MaxFailures,
    Retries,
    RunTimeout,
    Workers,
    finish,
)
from benchmark.store import CHECKPOINT_EVERY, Store


def retry(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="a directory of runs")],
    plugin: Annotated[list[str] | None, typer.Option(help="the plug-ins that the failed runs came with")] = None,
    workers: Workers = None,
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = "0",
    address: Address = None,
    run_timeout: RunTimeout = None,
    retries: Retries = 2,
    max_failures: MaxFailures = None,
    checkpoint_every: CheckpointEvery = CHECKPOINT_EVERY,
) -> int:
    """Runs what failed in a directory again, each as its record configures it."""
    from benchmark.retry import failed_runs
    from benchmark.terms import Terms, gpus_asked

    gpus, size_gpus = gpus_asked(gpus_per_run)
    store = Store(directory)
    pending = failed_runs(store, plugin or ())
    print(f"{len(pending)} failed runs in {directory}", file=sys.stderr)
    if not pending:
        return 0
    terms = Terms(
        workers, cpus_per_run, gpus, address, run_timeout, retries, max_failures, checkpoint_every, size_gpus=size_gpus
    )
    return finish(pending, store, terms, [entry.run_id for entry in store.entries()])
