"""A progress bar on stderr for operations that take minutes: decoding, unpacking, downloading."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(description: str, total: float, in_bytes: bool = False) -> Iterator[Callable[[float], None]]:
    """Shows a bar and yields the function that sets the amount done. Nothing is shown if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    console = Console(file=getattr(sys.stderr, "terminal", sys.stderr))  # `bench` escapes control characters elsewhere
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("".join(c if c.isprintable() else "?" for c in description), total=total)
        yield lambda done: progress.update(task, completed=done)
