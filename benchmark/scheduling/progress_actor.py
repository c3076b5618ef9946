"""The Ray actor that receives the progress and the checkpoints of workers. Its process does not import torch."""


class ProgressActor:
    """Collects what workers report until the driver fetches it. Only the latest report of each run is kept."""

    def __init__(self) -> None:
        self.rounds: dict[str, tuple[int, int, str]] = {}
        self.checkpoints: dict[str, bytes] = {}
        self.ending = False

    def report_round(self, run_id: str, number: int, images: int, worker: str) -> bool:
        """Stores a run's last finished round, the images trained on so far, and the worker's HOST:PID.

        Returns:
            Whether the sweep is about to end, so that the run should save a checkpoint.
        """
        self.rounds[run_id] = (number, images, worker)
        return self.ending

    def end(self) -> None:
        """Tells the runs that the sweep is about to end."""
        self.ending = True

    def save_checkpoint(self, run_id: str, content: bytes) -> None:
        """Stores a run's checkpoint."""
        self.checkpoints[run_id] = content

    def fetch(self) -> tuple[dict[str, tuple[int, int, str]], dict[str, bytes]]:
        """Returns the rounds and checkpoints reported since the last call."""
        reports, self.rounds, self.checkpoints = (self.rounds, self.checkpoints), {}, {}
        return reports
