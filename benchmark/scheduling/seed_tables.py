"""Shows a table of the complete seeds of a sweep, whenever one completes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.scheduling.progress import ForwardedProgress, ProgressListener
from fedprompt.results.errors import RecordError

TABLES = 10
"""With more seeds, there is a table after the first one, and then about this many: each reads all records again."""


class SeedTables(ForwardedProgress):
    """Passes progress on, and shows and saves a table when all runs of a seed have ended, successfully or not.

    The table has the runs of all complete seeds. There is none for the last seed: it is the table of the whole sweep.

    Args:
        listener: Receives the progress, and the tables as messages.
        grid: All runs of the sweep.
        pending: Those that are not done yet. A seed without any is complete from the start.
        save: Saves the table of some runs under a label such as "1 of 3 seeds", and returns it as text.
    """

    def __init__(
        self,
        listener: ProgressListener,
        grid: Sequence[RunConfig],
        pending: Sequence[RunConfig],
        save: Callable[[Sequence[str], str], str],
    ) -> None:
        super().__init__(listener)
        self.grid, self.save = grid, save
        self.pending = {config.run_id: config.seed for config in pending}

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Informs the listener, and shows a table if this was the last run of a seed."""
        super().run_done(run_id, result)
        seed = self.pending.pop(run_id, None)  # None: the same data set is in the grid under two names
        incomplete = set(self.pending.values())
        if seed is not None and incomplete and seed not in incomplete:
            self._show(incomplete)

    def _show(self, incomplete: set[int]) -> None:
        seeds = {config.seed for config in self.grid}
        complete = len(seeds) - len(incomplete)
        if complete > 1 and complete % -(-len(seeds) // TABLES):
            return
        label = f"{complete} of {len(seeds)} seeds"
        try:
            table = self.save([config.run_id for config in self.grid if config.seed not in incomplete], label)
        except (OSError, RecordError) as error:  # must not end the sweep
            self.note(f"no table of {label}: {error}")
        else:
            self.note(f"{label}:\n\n{table}")
