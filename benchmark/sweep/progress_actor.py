"""Where Ray's workers tell how far they are and leave their checkpoints. The process that holds it loads no torch."""


class ProgressActor:
    """The actor that workers tell their rounds, and that the driver asks for the news."""

    def __init__(self) -> None:
        self.rounds: dict[str, tuple[int, int, str]] = {}
        self.checkpoints: dict[str, bytes] = {}

    def post(self, run_id: str, number: int, images: int, worker: str) -> None:
        """Notes a run's last finished round, its images trained on so far, and its worker."""
        self.rounds[run_id] = (number, images, worker)

    def keep(self, run_id: str, content: bytes) -> None:
        """Holds a run's checkpoint, of which only the last matters."""
        self.checkpoints[run_id] = content

    def take(self) -> tuple[dict[str, tuple[int, int, str]], dict[str, bytes]]:
        """What is new since the last time: rounds and checkpoints."""
        news, self.rounds, self.checkpoints = (self.rounds, self.checkpoints), {}, {}
        return news
