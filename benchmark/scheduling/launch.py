"""Launches a sweep: finds the pending runs, checks and sizes them, runs them, and saves the table and figures."""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fedprompt.benchmark.config.method_overrides import override_notes
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Entry, Store
from fedprompt.data.errors import reason
from fedprompt.data.files.atomic import atomic_write
from fedprompt.results.errors import RecordError

if TYPE_CHECKING:
    import pandas as pd

    from fedprompt.benchmark.scheduling.callbacks import RoundCallback
    from fedprompt.benchmark.scheduling.options import SweepOptions
    from fedprompt.benchmark.scheduling.scheduler import SweepSummary

Unreadable = Callable[[Exception], object]  # receives the error of each record that is left out
TABLES = {"text": "table.txt", "csv": "table.csv", "md": "table.md"}
"""The files of a sweep's table by format."""


class Launch:
    """A grid of runs and the store that keeps them.

    Attributes:
        done: The number of runs that are done there.
        pending: The runs that are not.
        left_out: The ids of runs that are neither, because their record is invalid.

    Args:
        grid: The runs.
        store: Their records.
        unreadable: Called for each invalid record of the grid, whose run is then left out.
        keep: The trained tensors that every run must have kept, `server` or `all`.

    Raises:
        ConfigError: Without `unreadable`, a record of the grid is invalid; or a run has finished without its model.
    """

    def __init__(
        self,
        grid: Sequence[RunConfig],
        store: Store,
        unreadable: Unreadable | None = None,
        keep: str | None = None,
    ) -> None:
        self.grid, self.store = grid, store
        self.entries: dict[str, Entry] = {}
        self.left_out = set[str]()
        without_model = list[str]()
        for run_id in (config.run_id for config in grid):
            try:
                if entry := store.entry(run_id):
                    without_model += [run_id] if entry.lacks_model(keep, store.directory) else []
                    self.entries[run_id] = entry.cost()
            except ConfigError as error:
                if unreadable is None:
                    raise
                unreadable(error)
                self.left_out.add(run_id)
        if without_model:
            raise ConfigError(
                f"--keep-model {keep}: {len(without_model)} of these runs in {store.directory} have finished without "
                f"it, such as {without_model[0]}; delete their directories to run them again, or choose another --out."
            )
        done = {run_id for run_id, entry in self.entries.items() if entry.status == "done"}
        self.done = sum(config.run_id in done for config in grid)
        self.pending = [config for config in grid if config.run_id not in done | self.left_out]

    def cost_entries(self) -> list[Entry]:
        """Every readable run in the store, those of the grid with their cost only."""
        return self.store.entries(self.entries, unreadable=lambda _: None) if self.store.directory.is_dir() else []

    def run(
        self,
        sweep_options: "SweepOptions",
        chosen: Options | None = None,
        seed_tables: bool = False,
        on_round: "RoundCallback | None" = None,
    ) -> "SweepSummary | None":
        """Runs what is pending, seed by seed and the longest runs of a seed first, after checks that cover all of it.

        Args:
            sweep_options: how the runs are scheduled.
            chosen: the options of the grid; its per-method options are noted in the store.
            seed_tables: whether to show and save a table as each seed completes, except for the last one.
            on_round: called after each round of each run, in this process.

        Returns:
            How the sweep ended, or None if nothing was pending.

        Raises:
            ConfigError, DataError, MethodError: a check failed; nothing was run.
            Stopped: `on_round` has raised an exception.
        """
        if not self.pending:
            self._note_overrides(chosen)
            return None
        sweep_options.check(self.pending[0].device)
        if sweep_options.address:
            from fedprompt.benchmark.scheduling.cluster import check_address

            check_address(sweep_options.address)
        if sweep_options.shown.progress and sys.stderr.isatty():
            print("setting up data and backbone ...", file=sys.stderr, flush=True)
        with _no_garbage_collection():
            from fedprompt.benchmark.scheduling import trackers
            from fedprompt.benchmark.scheduling.callbacks import RoundCallbacks
            from fedprompt.benchmark.scheduling.order import longest_first, seed_by_seed
            from fedprompt.benchmark.scheduling.progress import ConsoleProgress, ProgressListener
            from fedprompt.benchmark.scheduling.scheduler import preflight, run_all
            from fedprompt.benchmark.scheduling.seed_tables import SeedTables

        store = self.store
        track = trackers.tracker(sweep_options.tracker, store.directory) if sweep_options.tracker else None
        preflight(self.pending)
        store.prepare()
        entries = self.cost_entries()
        if sweep_options.size_gpus:
            from fedprompt.benchmark.scheduling.gpu_share import auto_share

            sweep_options = replace(sweep_options, gpus=auto_share(self.pending, entries))
        self._note_overrides(chosen)
        pending = seed_by_seed(longest_first(self.pending, entries), (config.seed for config in self.grid))
        with ConsoleProgress(pending, entries, sweep_options.shown) as progress:
            listener: ProgressListener = trackers.TrackedProgress(progress, track, store) if track else progress
            if on_round:
                listener = RoundCallbacks(listener, on_round, pending, store)
            if seed_tables:
                listener = SeedTables(listener, self.grid, pending, partial(save_table, store.directory))
            return run_all(pending, store, sweep_options, listener)

    def _note_overrides(self, chosen: Options | None) -> None:
        if chosen is None or not chosen.per_method:
            return
        self.store.add_method_overrides(override_notes(chosen.per_method, self.grid))
        if untuned := [name for name in dict.fromkeys(c.method for c in self.grid) if name not in chosen.per_method]:
            print(f"not tuned, because per-method has no entry: {', '.join(untuned)}", file=sys.stderr)


def single_run(chosen: Options) -> RunConfig:
    """The one run that these options define, with seed 0 if they name none. Raises ConfigError if there are more."""
    from fedprompt.benchmark.runs.precision import resolve_precision

    seeds = chosen.seeds if "seeds" in chosen.model_fields_set else (0,)
    grid = resolve_precision(chosen.model_copy(update={"seeds": seeds}).grid())
    if len(grid) != 1:
        raise ConfigError(f"bench run executes one run, not {len(grid)}: use bench sweep, or name one --method.")
    return grid[0]


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


@dataclass(frozen=True)
class Outcome:
    """The table of some runs as text, the names of the files saved, and why others are not, or an empty text."""

    table: str
    saved: list[str]
    error: str = ""


def save_table_and_figures(directory: Path, run_ids: Sequence[str], unreadable: Unreadable | None = None) -> Outcome:
    """Saves the table and figures of some runs in their directory, as far as that is possible.

    Args:
        directory: The directory.
        run_ids: The runs.
        unreadable: Called for each record that cannot be read, which is then left out.

    Raises:
        RecordError: No record can be read, or without `unreadable`, one of them.
    """
    from fedprompt.results.figures import drawing
    from fedprompt.results.records import frames

    runs = frames.load(directory, run_ids, unreadable)
    texts, saved = _tables(runs), list[str]()
    try:
        _save(directory, texts)
        saved += TABLES.values()
        if (runs["status"] == "done").any():
            paths = drawing.draw(directory, run_ids=run_ids, unreadable=unreadable)
            saved += [path.name for path in paths if path.suffix == ".png"]
    except OSError as error:
        return Outcome(texts["text"], saved, f"the table cannot be saved in {directory} ({reason(error)})")
    except RecordError as error:  # the records were read: the figures cannot be written
        return Outcome(texts["text"], saved, str(error))
    return Outcome(texts["text"], saved)


def save_table(directory: Path, run_ids: Sequence[str], seeds: str) -> str:
    """Saves the table of some runs in their directory; `seeds` says how many are complete. Returns it as text."""
    from fedprompt.results.records import frames

    texts = _tables(frames.load(directory, run_ids, unreadable=lambda _: None), seeds)
    _save(directory, texts)
    return texts["text"]


def _tables(runs: "pd.DataFrame", seeds: str = "") -> dict[str, str]:
    """The table of some runs in each format of `TABLES`."""
    from fedprompt.results.tables import leaderboard

    table = leaderboard.leaderboard(runs)
    table.attrs["seeds"] = seeds
    return {kind: leaderboard.render(table, kind) for kind in TABLES}


def _save(directory: Path, texts: Mapping[str, str]) -> None:
    for kind, text in texts.items():
        atomic_write(directory / TABLES[kind], text)
