"""Where Ray's workers tell how far they are. Apart, so that the process that holds it loads no torch."""


class Board:
    """The actor that workers tell their rounds, and that the driver asks for the news."""

    def __init__(self) -> None:
        self.rounds: dict[str, tuple[int, int, str]] = {}

    def post(self, run_id: str, number: int, images: int, worker: str) -> None:
        """Notes a run's last finished round, its images trained on so far, and its worker."""
        self.rounds[run_id] = (number, images, worker)

    def take(self) -> dict[str, tuple[int, int, str]]:
        """What is new since the last time."""
        news, self.rounds = self.rounds, {}
        return news
