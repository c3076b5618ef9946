"""Calls a function of the user after each round of each run, in the process that drives the sweep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import Stopped
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.scheduling.progress import ForwardedProgress, ProgressListener, Row


@dataclass(frozen=True)
class Round:
    """A completed round of a run.

    Attributes:
        run_id: The run, like the following.
        method: Its method.
        dataset: Its data set.
        alpha: Its Dirichlet concentration, if it has one.
        seed: Its seed.
        rounds: Its number of rounds.
        number: The round; 0 is before training.
        metrics: The row of this round in `Record.rounds`: `train_loss`, the traffic and the seconds so far and, after
            rounds with an evaluation, scores such as `seen_mean`.
    """

    run_id: str
    method: str
    dataset: str
    alpha: float | None
    seed: int
    rounds: int
    number: int
    metrics: dict[str, Any]


RoundCallback = Callable[[Round], object]


class RoundCallbacks(ForwardedProgress):
    """Passes progress on, and calls a function once after each round of each run, in the order of the rounds.

    Rounds that were not reported, because the run ended first or its node was lost, are taken from its record. Rounds
    that an earlier attempt has completed are not repeated.

    Args:
        listener: Receives the progress.
        callback: The function. After an exception it is not called again.
        configs: The runs.
        store: Their records.
    """

    def __init__(
        self, listener: ProgressListener, callback: RoundCallback, configs: Sequence[RunConfig], store: Store
    ) -> None:
        super().__init__(listener)
        self.callback, self.store, self.stopped = callback, store, False
        self.configs = {config.run_id: config for config in configs}
        self.last: dict[str, int] = {}  # the last round of each run that was passed on

    def round_done(self, run_id: str, number: int, images: int = 0, worker: str = "", row: Row | None = None) -> None:
        """Informs the listener and, of a completed round, the function.

        Raises:
            Stopped: The function has raised an exception.
        """
        super().round_done(run_id, number, images, worker, row)
        if row is not None:
            self._call(run_id, row)

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Informs the listener and, of rounds that were not reported, the function."""
        super().run_done(run_id, result)
        resumed = (result.get("when") or {}).get("resumed")
        last = self.last.setdefault(run_id, resumed[-1]["after_round"] if resumed else -1)
        if result["status"] != "done" or self.stopped or last >= self.configs[run_id].rounds:
            return
        import pandas as pd

        rows = pd.read_parquet(self.store.directory / run_id / "rounds.parquet").to_dict("records")
        for row in rows:
            self._call(run_id, {str(name): value for name, value in row.items()})

    def _call(self, run_id: str, row: Row) -> None:
        number, config = int(row["round"]), self.configs[run_id]
        if self.stopped or number <= self.last.get(run_id, -1):
            return
        self.last[run_id] = number
        of_run = (run_id, config.method, config.dataset, config.alpha, config.seed, config.rounds)
        try:
            self.callback(Round(*of_run, number, dict(row)))
        except BaseException as error:  # a user's function may raise anything; the sweep's caller gets it unchanged
            self.stopped = True
            raise Stopped(error) from error
