"""`bench run`, `bench sweep` and `bench retry`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedprompt.benchmark.cli.common_options import DEFAULT_OUT, Directory, Json, Out, Unreadable
from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.cli.sweep_options import (
    CheckpointEvery,
    KeepModel,
    NoProgress,
    Quiet,
    Verbose,
    scheduling_options,
    shown_of,
)
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.runs.store import CHECKPOINT_EVERY, Store
from fedprompt.benchmark.scheduling.launch import Launch, save_table_and_figures, single_run

if TYPE_CHECKING:
    from fedprompt.benchmark.scheduling.options import SweepOptions

TrackerName = Annotated[str | None, typer.Option("--tracker", help="also log to tensorboard, mlflow or wandb")]


@partial(grid_options, continues=True)
def run(
    chosen: Options,
    out: Out = DEFAULT_OUT,
    checkpoint_every: CheckpointEvery = CHECKPOINT_EVERY,
    keep_model: KeepModel = None,
    tracker: TrackerName = None,
    as_json: Json = False,
    no_progress: NoProgress = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Execute one run in this process and save it in --out. A finished run is not repeated."""
    from fedprompt.benchmark.scheduling.options import SweepOptions

    shown, config = shown_of(no_progress, quiet, verbose), single_run(chosen)
    launch, place = Launch([config], Store(out), keep=keep_model), out / config.run_id
    if shown.notes and not launch.pending:
        print(f"already finished: {place}", file=sys.stderr)
    sweep_options = SweepOptions(
        workers=1, checkpoint_every=checkpoint_every, tracker=tracker, shown=shown, keep_model=keep_model
    )
    launch.run(sweep_options, chosen)
    entry = launch.store.entry(config.run_id)
    assert entry is not None, "a run that ended is in the store"
    if as_json:
        print(json.dumps(entry.result, indent=1))
    elif entry.status == "done":
        _print_summary(entry.result, place)
    return 0 if entry.status == "done" else 1


@grid_options
@scheduling_options
def sweep(chosen: Options, sweep_options: "SweepOptions", out: Out = DEFAULT_OUT, tracker: TrackerName = None) -> int:
    """Run the grid methods x data sets x alphas x seeds on Ray. Repeat the command to resume or extend a sweep.

    Runs are ordered by seed. As each seed completes, the table so far is shown on stderr and saved.
    Several sweeps may use the same directory. Each run is locked by one of them; the others wait for its record.
    """
    from fedprompt.benchmark.runs.precision import resolve_precision

    unreadable = Unreadable()
    launch = Launch(resolve_precision(chosen.grid()), Store(out), unreadable, sweep_options.keep_model)
    if sweep_options.shown.notes:
        print(f"{len(launch.grid)} runs, {launch.done} already done, in {out}", file=sys.stderr)
    shown = [config.run_id for config in launch.grid if config.run_id not in launch.left_out]
    return _finish(launch, replace(sweep_options, tracker=tracker), shown, unreadable, chosen)


@scheduling_options
def retry(
    sweep_options: "SweepOptions",
    directory: Directory,
    plugin: Annotated[list[str] | None, typer.Option(help="plug-in files that the failed runs used")] = None,
) -> int:
    """Repeat the failed runs of a directory with the configurations in their records."""
    from fedprompt.benchmark.runs.retry import failed_runs

    store, unreadable = Store(directory), Unreadable()
    failed = failed_runs(store, plugin or (), unreadable)
    if sweep_options.shown.notes:
        print(f"{len(failed)} failed runs in {directory}", file=sys.stderr)
    shown = [entry.run_id for entry in store.entries(unreadable=unreadable)]
    return _finish(Launch(failed, store), sweep_options, shown, unreadable) if failed else unreadable.code


def _finish(
    launch: Launch,
    sweep_options: "SweepOptions",
    shown: Sequence[str],
    unreadable: Unreadable,
    chosen: Options | None = None,
) -> int:
    """Runs what is pending, saves and prints the table and figures of the runs `shown`; returns the exit code."""
    summary, directory = launch.run(sweep_options, chosen, seed_tables=chosen is not None), launch.store.directory
    outcome = save_table_and_figures(directory, shown, unreadable)
    print(outcome.table)
    if outcome.saved and sweep_options.shown.notes:
        print(f"saved in {directory}: {', '.join(outcome.saved)}", file=sys.stderr)
    if outcome.error:
        print(f"error: {outcome.error}; every run is stored, and `bench table` shows them.", file=sys.stderr)
    if summary and summary.failed:
        print(
            f"{summary.failed} runs failed; `bench status {directory}` shows why, the same command retries them.",
            file=sys.stderr,
        )
    return 1 if outcome.error or (summary and (summary.failed or summary.skipped)) else unreadable.code


def _print_summary(result: dict[str, Any], place: Path) -> None:
    print(f"{result['method']} on {result['dataset']}, seed {result['seed']}; saved in {place}")
    for kind, suffix in (("metrics", ""), ("metrics_prior", " with prior-corrected logits")):
        for group in ("seen", "held_out"):
            values = result[kind].get(group)
            text = f"mean {values['mean']:.1%}, worst {_percent(values['worst'])}" if values else "n/a"
            print(f"  {group.replace('_', '-')}{suffix}: {text}")
    seconds, traffic = result["seconds"], result["communication"]
    print(f"  {traffic['upload_bytes'] / 1e6:.2f} MB up, {traffic['download_bytes'] / 1e6:.2f} MB down", end=", ")
    print(f"{seconds['total']:.1f} s, {result['images_per_second']:.0f} training images per second")


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"
