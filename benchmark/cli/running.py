"""`bench run` and `bench sweep`."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.cli.sweep_options import CheckpointEvery, term_options
from fedprompt.benchmark.config.method_overrides import own_settings
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import CHECKPOINT_EVERY, Store

if TYPE_CHECKING:
    from fedprompt.benchmark.sweep.options import SweepOptions
    from fedprompt.benchmark.sweep.scheduler import SweepSummary

DEFAULT_OUT = Path("runs/default")
Out = Annotated[Path, typer.Option(help="directory of the runs", show_default=str(DEFAULT_OUT))]
TrackerName = Annotated[str | None, typer.Option("--tracker", help="also tensorboard, mlflow or wandb")]


@grid_options
def run(
    chosen: Options,
    out: Out = DEFAULT_OUT,
    checkpoint_every: CheckpointEvery = CHECKPOINT_EVERY,
    tracker: TrackerName = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the record as JSON")] = False,
) -> int:
    """One run in this process; it is kept in --out, and not repeated when it is there."""
    from fedprompt.benchmark.runs.precision import resolve_precision
    from fedprompt.benchmark.sweep.options import SweepOptions

    seeds = chosen.seeds if "seeds" in chosen.model_fields_set else (0,)
    grid = resolve_precision(chosen.model_copy(update={"seeds": seeds}).grid())
    if len(grid) != 1:
        raise ConfigError(
            f"bench run does one run, and this asks for {len(grid)}: use bench sweep, or name one --method."
        )
    store, config = Store(out), grid[0]
    if not store.pending(grid):
        print(f"finished before; from {out / config.run_id}", file=sys.stderr)
    work(grid, store, SweepOptions(workers=1, checkpoint_every=checkpoint_every, tracker=tracker), chosen)
    entry = store.entry(config.run_id)
    assert entry is not None, "a run that ended is in the store"
    if as_json:
        print(json.dumps(entry.result, indent=1))
    elif entry.status == "done":
        _summary(entry.result, out / config.run_id)
    return 0 if entry.status == "done" else 1


@grid_options
@term_options
def sweep(chosen: Options, terms: "SweepOptions", out: Out = DEFAULT_OUT, tracker: TrackerName = None) -> int:
    """The grid methods x data sets x alphas x seeds, on Ray. The same command resumes, a wider one extends.

    Several sweeps into one directory share the work: a run is claimed by one of them, and waited for by the others.
    """
    from fedprompt.benchmark.runs.precision import resolve_precision

    grid = resolve_precision(chosen.grid())
    store = Store(out)
    pending = store.pending(grid)
    print(f"{len(grid)} runs, {len(grid) - len(pending)} done before, in {out}", file=sys.stderr)
    terms = replace(terms, tracker=tracker)
    return finish(grid, store, terms, [config.run_id for config in grid], chosen)


def finish(
    grid: Sequence[RunConfig], store: Store, terms: "SweepOptions", shown: list[str], chosen: Options | None = None
) -> int:
    """Runs what is pending of a grid and shows the table of the runs named; returns the exit code."""
    tally = work(grid, store, terms, chosen)
    _show(shown, store.directory)
    if tally and tally.failed:
        print(
            f"{tally.failed} runs failed; `bench status {store.directory}` says why, the same command tries again.",
            file=sys.stderr,
        )
    return 1 if tally and (tally.failed or tally.unbegun) else 0


def work(
    grid: Sequence[RunConfig], store: Store, terms: "SweepOptions", chosen: Options | None = None
) -> "SweepSummary | None":
    """Runs what is pending of a grid, the longest first, as long as nothing is wrong with any of it; None: nothing was.

    Notes what `chosen` gives to one method alone.
    """
    pending = store.pending(grid)
    if pending:
        from fedprompt.benchmark.sweep import trackers
        from fedprompt.benchmark.sweep.scheduler import preflight

        terms.check(pending[0].device)
        track = trackers.tracker(terms.tracker, store.directory) if terms.tracker else None
        preflight(pending)
        store.prepare()
        if terms.size_gpus:
            from fedprompt.benchmark.sweep.gpu_share import sized

            terms = replace(terms, gpus=sized(pending, store.entries()))
    if chosen is not None and chosen.per_method:
        store.note_own(own_settings(chosen.per_method, grid))
        if untuned := [name for name in dict.fromkeys(c.method for c in grid) if name not in chosen.per_method]:
            print(f"per-method says nothing of {', '.join(untuned)}: not tuned", file=sys.stderr)
    if not pending:
        return None
    from fedprompt.benchmark.sweep.order import longest_first
    from fedprompt.benchmark.sweep.progress import ConsoleProgress
    from fedprompt.benchmark.sweep.scheduler import run_all

    pending = longest_first(pending, store.entries())
    with ConsoleProgress(pending) as screen:
        return run_all(pending, store, terms, trackers.TrackedProgress(screen, track, store) if track else screen)


def _summary(result: dict, place: Path) -> None:  # type: ignore[type-arg]
    print(f"{result['method']} on {result['dataset']}, seed {result['seed']}; kept in {place}")
    rows = [("seen", "metrics"), ("held_out", "metrics"), ("seen", "metrics_prior"), ("held_out", "metrics_prior")]
    for group, kind in rows:
        values = result[kind].get(group)
        label = group.replace("_", "-") + (" with prior-corrected logits" if kind == "metrics_prior" else "")
        text = f"mean {values['mean']:.1%}, worst {values['worst']:.1%}" if values else "n/a"
        print(f"  {label}: {text}")
    seconds, traffic = result["seconds"], result["communication"]
    print(f"  {traffic['upload_bytes'] / 1e6:.2f} MB up, {traffic['download_bytes'] / 1e6:.2f} MB down", end=", ")
    print(f"{seconds['total']:.1f} s, {result['images_per_second']:.0f} images a second in training")


def _show(ids: list[str], out: Path) -> None:
    """Prints the table of these runs, and saves it and the figures beside them."""
    from fedprompt.results.figures import drawing as figures
    from fedprompt.results.records import frames as records
    from fedprompt.results.tables import leaderboard as table

    board = table.leaderboard(records.load(out, ids))
    print(table.render(board, "text"))
    saved = []
    for kind, suffix in (("text", "txt"), ("csv", "csv"), ("md", "md")):
        path = out / f"table.{suffix}"
        unfinished = out / f".table.{os.getpid()}"
        unfinished.write_text(table.render(board, kind), encoding="utf-8")
        unfinished.replace(path)
        saved.append(path.name)
    drawn = figures.draw(out, run_ids=ids) if any(_done(out, i) for i in ids) else []
    names = [p.name for p in drawn if p.suffix == ".png"]
    print(f"table: {', '.join(saved)} and figures: {', '.join(names) or 'none'} in {out}", file=sys.stderr)


def _done(out: Path, run_id: str) -> bool:
    entry = Store(out).entry(run_id)
    return entry is not None and entry.status == "done"
