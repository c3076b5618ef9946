"""Shows the progress of a sweep: a live line in a terminal or notebook, plain lines on stderr elsewhere."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.durations import span
from fedprompt.benchmark.runs.store import Entry
from fedprompt.benchmark.scheduling.options import ALL, Shown
from fedprompt.benchmark.scheduling.time_left import Forecast
from fedprompt.results.text import MAX_LOG, bounded, escaped

Row = Mapping[str, Any]
PRINT_EVERY = 10.0  # seconds between plain lines
UPDATE_EVERY = 0.5  # seconds between updates of the line in a notebook


class ProgressListener:
    """Receives the progress of a sweep. This base class ignores it."""

    def round_done(self, run_id: str, number: int, images: int = 0, worker: str = "", row: Row | None = None) -> None:
        """Called when a run starts (round 0 without a row) and after each round, 0 being before the first.

        `images` is the number trained on so far, `worker` its HOST:PID, or empty for the driver itself. `row` is the
        row of the round in the record.
        """

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Called when a run has ended, successfully or not, and is in the store."""

    def note(self, text: str) -> None:
        """Shows a message to the user."""

    def describe(self) -> dict[str, Any]:
        """Returns the progress of the sweep, as JSON-serialisable values."""
        return {}


class ForwardedProgress(ProgressListener):
    """Passes all progress on to another listener. Base class of listeners that do something in addition."""

    def __init__(self, listener: ProgressListener) -> None:
        self.listener = listener

    def round_done(self, run_id: str, number: int, images: int = 0, worker: str = "", row: Row | None = None) -> None:
        """Informs the listener."""
        self.listener.round_done(run_id, number, images, worker, row)

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Informs the listener."""
        self.listener.run_done(run_id, result)

    def note(self, text: str) -> None:
        """Passes the message on."""
        self.listener.note(text)

    def describe(self) -> dict[str, Any]:
        """Returns the listener's description."""
        return self.listener.describe()


class ConsoleProgress(ProgressListener):
    """Shows finished runs, the rounds of running ones, images per second and the time left. Used as a context."""

    def __init__(self, configs: Sequence[RunConfig], earlier: Iterable[Entry] = (), shown: Shown = ALL) -> None:
        self.shown = shown
        self.forecast = Forecast(configs, earlier)
        self.rounds = {config.run_id: config.rounds for config in configs}  # of the runs that have not ended
        self.names = {c.run_id: f"{c.method} {c.federation.label} seed {c.seed}" for c in configs}
        self.reached: dict[str, int] = {}
        self.images: dict[str, int] = {}
        self.workers: dict[str, str] = {}
        self.finished = self.failed = 0
        self.began = self.printed = time.monotonic()
        self.console = Console(file=getattr(sys.stderr, "terminal", sys.stderr))  # the bar needs control characters
        self.progress: Progress | None = None
        self.notebook = NotebookLine() if self.console.is_jupyter and shown.progress else None
        if self.console.is_terminal and shown.progress:
            note = TextColumn("{task.fields[note]}", markup=False)
            columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), note)
            self.progress = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
            self.bar = self.progress.add_task("runs", total=len(configs), note="")

    def __enter__(self) -> "ConsoleProgress":
        if self.progress:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress:
            self.progress.stop()

    def round_done(self, run_id: str, number: int, images: int = 0, worker: str = "", row: Row | None = None) -> None:
        """Records a round."""
        if run_id in self.rounds:
            self.forecast.reached(run_id, number / max(1, self.rounds[run_id]), time.monotonic())
            self.reached[run_id], self.images[run_id], self.workers[run_id] = number, images, worker
        self._show()

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Records the end of a run. A failure is shown at once."""
        if self.rounds.pop(run_id, None) is not None:
            self.forecast.ended(run_id, result["status"] == "done", time.monotonic())
        self.reached.pop(run_id, None)
        self.finished += 1
        if result["status"] != "done":
            self.failed += 1
            self._print(f"failed: {self.names[run_id]}: {result['error']}")
        elif self.shown.runs:
            self._print(f"done: {self.names[run_id]}, {(result.get('seconds') or {}).get('total', 0.0):.1f} s")
        self._show(force=not self.rounds)

    def note(self, text: str) -> None:
        """Prints one or more lines at once, unless notes are not shown."""
        if self.shown.notes:
            self._print(text)

    def _print(self, text: str) -> None:
        text = escaped(bounded(text, MAX_LOG), lines=True)
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def describe(self) -> dict[str, Any]:
        """Returns the numbers of runs, images per second, seconds left, and the running runs with their rounds."""
        elapsed, rounds = time.monotonic() - self.began, dict(self.rounds)
        left = self.forecast.time_left(time.monotonic())
        return {
            "runs": self.finished + len(rounds),
            "finished": self.finished,
            "failed": self.failed,
            "images_per_second": sum(list(self.images.values())) / elapsed if elapsed else 0.0,
            "seconds_left": left and left.seconds,
            "seconds_left_range": left and [left.low, left.high],
            "running": [
                {"run_id": run, "name": self.names[run], "round": number, "rounds": rounds[run]}
                | {"worker": self.workers.get(run, "")}
                for run, number in list(self.reached.items())
                if run in rounds
            ],
        }

    def _show(self, force: bool = False) -> None:
        if self.progress:
            state = self.describe()
            note = escaped(f"{_totals(state)}  {_running(state)}")[:100]
            self.progress.update(self.bar, completed=self.finished, note=note)
        elif self.notebook and (force or time.monotonic() - self.printed >= UPDATE_EVERY):
            self.printed = time.monotonic()
            self.notebook.show(line(self.describe()))
        elif self.shown.progress and not self.notebook and (force or time.monotonic() - self.printed >= PRINT_EVERY):
            self.printed = time.monotonic()
            print(line(self.describe()), file=sys.stderr, flush=True)


class NotebookLine:
    """A line below a notebook's cell that the next one replaces. Needs no widgets."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, text: str) -> None:
        """Shows a text in place of the last one."""
        from IPython.display import display

        content = {"text/plain": escaped(text)}
        if self.handle is None:
            self.handle = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self.handle.update(content, raw=True)


def line(state: Mapping[str, Any]) -> str:
    """Formats the description of a sweep's progress as one line."""
    running = _running(state)
    return f"{state['finished']}/{state['runs']} runs, {_totals(state)}{'; ' + running if running else ''}"


def _totals(state: Mapping[str, Any]) -> str:
    failed = f"{state['failed']} failed, " if state["failed"] else ""
    speed = f"{state['images_per_second']:.0f} images/s, " if state["images_per_second"] else ""
    left = state.get("seconds_left_range")
    return failed + speed + (f"{span(*left)} left" if left else "starting")


def _running(state: Mapping[str, Any]) -> str:
    return ", ".join(f"{run['name']} {run['round']}/{run['rounds']}" for run in state["running"])
