"""Arguments and options that several commands share."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_OUT = Path("runs/default")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="directory of runs")]
Out = Annotated[Path, typer.Option(help="directory of runs", show_default=str(DEFAULT_OUT))]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Metric = typer.Option(help="such as seen.mean, held_out.worst, prior.seen.mean, upload_mb or seconds")


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
