"""The options that choose runs and metrics of a directory; all commands that show or export records have them."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any

import typer

from fedprompt.benchmark.cli.common_options import with_parameters

Words = list[str] | None
METHODS = "only these methods: names as in `bench table`, wildcards or families, separated by commas"
DATASETS = "only these data sets: names or wildcards"
ALPHA = "only these Dirichlet concentrations: numbers or wildcards"
METRIC = (
    "metrics or wildcards, such as seen.mean, held_out.worst, personalised.mean, prior.seen.mean, seen.*, upload_mb or "
    "seconds; `bench list metrics` has all"
)

OPTIONS: dict[str, Any] = {
    "methods": Annotated[Words, typer.Option("--methods", "--method", help=METHODS)],
    "datasets": Annotated[Words, typer.Option("--datasets", "--dataset", help=DATASETS)],
    "alpha": Annotated[Words, typer.Option("--alpha", help=ALPHA)],
    "metric": Annotated[Words, typer.Option("--metric", "--metrics", help=METRIC)],
}


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that replaces a command's parameter `selection: Selection` by the options that make one."""

    @wraps(command)
    def wrapper(**values: Any) -> Any:
        """Calls the command with the options as a `Selection`."""
        from fedprompt.results.records.selection import Selection

        parts = [_words(values.pop(name)) for name in OPTIONS]
        return command(selection=Selection(*parts), **values)

    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in OPTIONS.items()]
    return with_parameters(wrapper, command, "selection", after=added)


def _words(given: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(word.strip() for words in given or () for word in words.split(",") if word.strip())
