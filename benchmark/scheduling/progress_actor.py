"""The Ray actor that receives the progress and the checkpoints of workers. Its process does not import torch."""

from typing import Any, NamedTuple


class RoundReport(NamedTuple):
    """What a worker reports of a round: see `ProgressListener.round_done`."""

    number: int
    images: int
    worker: str
    row: dict[str, Any] | None


class ProgressActor:
    """Collects what workers report until the driver fetches it: every round, and the latest checkpoint of each run."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[RoundReport]] = {}
        self.checkpoints: dict[str, bytes] = {}
        self.ending = False

    def report_round(self, run_id: str, report: RoundReport) -> bool:
        """Stores the report of a run's last finished round.

        Returns:
            Whether the sweep is about to end, so that the run should save a checkpoint.
        """
        self.rounds.setdefault(run_id, []).append(report)
        return self.ending

    def end(self) -> None:
        """Tells the runs that the sweep is about to end."""
        self.ending = True

    def save_checkpoint(self, run_id: str, content: bytes) -> None:
        """Stores a run's checkpoint."""
        self.checkpoints[run_id] = content

    def fetch(self) -> tuple[dict[str, list[RoundReport]], dict[str, bytes]]:
        """Returns the rounds and checkpoints reported since the last call."""
        reports, self.rounds, self.checkpoints = (self.rounds, self.checkpoints), {}, {}
        return reports
