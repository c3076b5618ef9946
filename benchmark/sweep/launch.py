"""Launches a sweep: finds the pending runs, checks and sizes them, runs them, and saves the table and figures."""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fedprompt.benchmark.config.method_overrides import override_notes
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs.store import Store
from fedprompt.data.files.atomic import atomic_write

if TYPE_CHECKING:
    import pandas as pd

    from fedprompt.benchmark.sweep.options import SweepOptions
    from fedprompt.benchmark.sweep.scheduler import SweepSummary

TABLES = {"text": "table.txt", "csv": "table.csv", "md": "table.md"}
"""The files of a sweep's table by format."""


class Launch:
    """A grid of runs and the store that keeps them. `pending` are the runs that are not done there."""

    def __init__(self, grid: Sequence[RunConfig], store: Store) -> None:
        self.grid, self.store = grid, store
        entries = (store.entry(config.run_id) for config in grid)
        self.entries = {entry.run_id: entry.cost() for entry in entries if entry is not None}
        done = {run_id for run_id, entry in self.entries.items() if entry.status == "done"}
        self.pending = [config for config in grid if config.run_id not in done]

    def run(
        self, sweep_options: "SweepOptions", chosen: Options | None = None, seed_tables: bool = False
    ) -> "SweepSummary | None":
        """Runs what is pending, seed by seed and the longest runs of a seed first, after checks that cover all of it.

        Args:
            sweep_options: how the runs are scheduled.
            chosen: the options of the grid; its per-method options are noted in the store.
            seed_tables: whether to show and save a table as each seed completes, except for the last one.

        Returns:
            How the sweep ended, or None if nothing was pending.

        Raises:
            ConfigError, DataError, MethodError: a check failed; nothing was run.
        """
        if not self.pending:
            self._note_overrides(chosen)
            return None
        if sweep_options.address:
            from fedprompt.benchmark.sweep.cluster import check_address

            check_address(sweep_options.address)
        if sweep_options.shown.progress and sys.stderr.isatty():
            print("setting up data and backbone ...", file=sys.stderr, flush=True)
        with _no_garbage_collection():
            from fedprompt.benchmark.sweep import trackers
            from fedprompt.benchmark.sweep.order import longest_first, seed_by_seed
            from fedprompt.benchmark.sweep.progress import ConsoleProgress, ProgressListener
            from fedprompt.benchmark.sweep.scheduler import preflight, run_all
            from fedprompt.benchmark.sweep.seed_tables import SeedTables

        store = self.store
        sweep_options.check(self.pending[0].device)
        track = trackers.tracker(sweep_options.tracker, store.directory) if sweep_options.tracker else None
        preflight(self.pending)
        store.prepare()
        entries = store.entries(self.entries)
        if sweep_options.size_gpus:
            from fedprompt.benchmark.sweep.gpu_share import auto_share

            sweep_options = replace(sweep_options, gpus=auto_share(self.pending, entries))
        self._note_overrides(chosen)
        pending = seed_by_seed(longest_first(self.pending, entries), (config.seed for config in self.grid))
        with ConsoleProgress(pending, entries, sweep_options.shown) as progress:
            listener: ProgressListener = trackers.TrackedProgress(progress, track, store) if track else progress
            if seed_tables:
                listener = SeedTables(listener, self.grid, pending, partial(save_table, store.directory))
            return run_all(pending, store, sweep_options, listener)

    def _note_overrides(self, chosen: Options | None) -> None:
        if chosen is None or not chosen.per_method:
            return
        self.store.add_method_overrides(override_notes(chosen.per_method, self.grid))
        if untuned := [name for name in dict.fromkeys(c.method for c in self.grid) if name not in chosen.per_method]:
            print(f"not tuned, because per-method has no entry: {', '.join(untuned)}", file=sys.stderr)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """No collection while torch and timm are imported: their objects stay, and searching them takes 0.6 s."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def save_table_and_figures(directory: Path, run_ids: Sequence[str]) -> tuple[str, list[str]]:
    """Saves the table and figures of some runs in their directory; returns the table and the names of the files."""
    from fedprompt.results.figures import drawing
    from fedprompt.results.records import frames

    runs = frames.load(directory, run_ids)
    table = _save_table(directory, runs)
    drawn = drawing.draw(directory, run_ids=run_ids) if (runs["status"] == "done").any() else []
    return table, [*TABLES.values(), *(path.name for path in drawn if path.suffix == ".png")]


def save_table(directory: Path, run_ids: Sequence[str], seeds: str) -> str:
    """Saves the table of some runs in their directory; `seeds` says how many are complete. Returns it as text."""
    from fedprompt.results.records import frames

    return _save_table(directory, frames.load(directory, run_ids), seeds)


def _save_table(directory: Path, runs: "pd.DataFrame", seeds: str = "") -> str:
    from fedprompt.results.tables import leaderboard

    table = leaderboard.leaderboard(runs)
    table.attrs["seeds"] = seeds
    for kind, name in TABLES.items():
        atomic_write(directory / name, leaderboard.render(table, kind))
    return leaderboard.render(table, "text")
