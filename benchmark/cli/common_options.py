"""Arguments and options that several commands share."""

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fedprompt.results.records.models import KEPT

DEFAULT_OUT = Path("runs/default")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="directory of runs")]
Out = Annotated[Path, typer.Option(help="directory of runs", show_default=str(DEFAULT_OUT))]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


class Unreadable:
    """Prints why a record is left out of a command's answer. `code` is the exit code of the command."""

    def __init__(self) -> None:
        self.code, self._printed = 0, set[str]()

    def __call__(self, error: object) -> None:
        """Notes that a record is left out."""
        self.code = 1
        if str(error) not in self._printed:  # a file may be read for several parts of a report
            print(f"left out: {error}", file=sys.stderr)
        self._printed.add(str(error))


def announce(text: str) -> None:
    """Says in a terminal what takes a while."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def finite(value: float | None) -> float | None:
    """Callback of an option: refuses nan and infinity, which its limits do not exclude."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def kept(value: str | None) -> str | None:
    """Callback of --keep-model: refuses what cannot be kept."""
    if value is not None and value not in KEPT:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(KEPT)}.")
    return value


def with_parameters(
    wrapper: Callable[..., Any],
    command: Callable[..., Any],
    replaced: str,
    before: Sequence[inspect.Parameter] = (),
    after: Sequence[inspect.Parameter] = (),
) -> Callable[..., Any]:
    """Gives `wrapper` the parameters of `command` with one replaced by others, as keywords, where typer reads them."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [p.replace(kind=keyword) for p in inspect.signature(command).parameters.values() if p.name != replaced]
    parameters = [*before, *own, *after]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper
