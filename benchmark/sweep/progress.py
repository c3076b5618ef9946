"""How a sweep shows itself: a live line in a terminal, plain lines elsewhere. All of it goes to stderr."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedprompt.benchmark.config.run_config import RunConfig

PLAIN_EVERY = 10.0  # seconds between lines where no terminal shows the live view


class ProgressListener(Protocol):
    """Whoever is told how a sweep goes on."""

    def round_done(self, run_id: str, number: int, images: int = 0, where: str = "") -> None:
        """A run has begun (round 0) or finished a round; `images` are trained on so far, `where` is its worker."""

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """A run has ended, well or not, and is in the store."""

    def note(self, text: str) -> None:
        """Something that a reader should know."""

    def describe(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""


class NoProgress:
    """A watcher that shows nothing."""

    def round_done(self, run_id: str, number: int, images: int = 0, where: str = "") -> None:
        """Nothing."""

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def describe(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class ConsoleProgress:
    """Tells runs done, the rounds of those running, images a second, and the time left. Used as a context."""

    def __init__(self, configs: Sequence[RunConfig]) -> None:
        self.rounds = {config.run_id: config.rounds for config in configs}
        self.names = {c.run_id: f"{c.method} {c.federation.label} seed {c.seed}" for c in configs}
        self.reached: dict[str, int] = {}
        self.images: dict[str, int] = {}
        self.where: dict[str, str] = {}
        self.finished = self.failed = 0
        self.began = self.told = time.monotonic()
        self.console = Console(file=sys.stderr)
        self.progress: Progress | None = None
        if self.console.is_terminal:
            columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
            self.progress = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
            self.bar = self.progress.add_task("runs", total=len(configs), note="")

    def __enter__(self) -> "ConsoleProgress":
        if self.progress:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress:
            self.progress.stop()

    def round_done(self, run_id: str, number: int, images: int = 0, where: str = "") -> None:
        """Notes a round; shows it when it is time."""
        if run_id in self.rounds:
            self.reached[run_id], self.images[run_id], self.where[run_id] = number, images, where
        self._show()

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Notes the end of a run; a failure is shown at once."""
        self.rounds.pop(run_id, None)
        self.reached.pop(run_id, None)
        self.finished += 1
        if result["status"] != "done":
            self.failed += 1
            self.note(f"failed: {self.names[run_id]}: {result['error']}")
        self._show(force=not self.rounds)

    def note(self, text: str) -> None:
        """Shows a line at once, as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def left(self) -> float | None:
        """Seconds left at the pace so far, None before there is one."""
        under_way = [number / self.rounds[run] for run, number in list(self.reached.items()) if run in self.rounds]
        share = self.finished + sum(under_way)
        total = self.finished + len(self.rounds)
        return (time.monotonic() - self.began) * (total - share) / share if share else None

    def describe(self) -> dict[str, Any]:
        """Runs in all, finished and failed, images a second, seconds left, and the rounds of those running."""
        elapsed, rounds = time.monotonic() - self.began, dict(self.rounds)
        running = {run: number for run, number in list(self.reached.items()) if run in rounds}
        return {
            "runs": self.finished + len(rounds),
            "finished": self.finished,
            "failed": self.failed,
            "images_per_second": sum(list(self.images.values())) / elapsed if elapsed else 0.0,
            "seconds_left": self.left(),
            "running": [
                {"run_id": run, "name": self.names[run], "round": number, "rounds": rounds[run]}
                | {"worker": self.where.get(run, "")}
                for run, number in running.items()
            ],
        }

    def _show(self, force: bool = False) -> None:
        if self.progress:
            now = self.describe()
            self.progress.update(self.bar, completed=self.finished, note=f"{_note(now)}  {_running(now)}"[:100])
        elif force or time.monotonic() - self.told >= PLAIN_EVERY:
            self.told = time.monotonic()
            print(line(self.describe()), file=sys.stderr, flush=True)


def line(now: Mapping[str, Any]) -> str:
    """How far a sweep has come, in a line, from its description."""
    running = _running(now)
    return f"{now['finished']}/{now['runs']} runs, {_note(now)}{'; ' + running if running else ''}"


def _note(now: Mapping[str, Any]) -> str:
    failed = f"{now['failed']} failed, " if now["failed"] else ""
    pace = f"{now['images_per_second']:.0f} images/s, " if now["images_per_second"] else ""
    left = now["seconds_left"]
    return failed + pace + ("starting" if left is None else f"about {_clock(left)} left")


def _running(now: Mapping[str, Any]) -> str:
    return ", ".join(f"{run['name']} {run['round']}/{run['rounds']}" for run in now["running"])


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
