"""The options that sweep and retry share, of how runs are spread and what is put up with: one truth for both."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from fedprompt.benchmark.runs.store import CHECKPOINT_EVERY

Workers = Annotated[int | None, typer.Option(min=1, help="runs at a time (default: as many as there is room for)")]
Address = Annotated[str | None, typer.Option(help="an existing Ray cluster; the code is shipped to it")]
CheckpointEvery = Annotated[
    float, typer.Option(min=0, help="seconds between two states kept of a run under way; 0: one a round")
]
CpusPerRun = Annotated[int | None, typer.Option(min=1, help="processors, and threads, of each run")]
GpusPerRun = Annotated[
    str, typer.Option(help="GPUs of each run; 0.25 puts four runs on one; auto: as many as fit by measured memory")
]
RunTimeout = Annotated[float | None, typer.Option(min=0.1, help="seconds after which a run is ended, as failed")]
Retries = Annotated[int, typer.Option(min=0, help="more attempts after a killed worker, lost node or lack of memory")]
MaxFailures = Annotated[int | None, typer.Option(min=1, help="failed runs after which no other begins")]

OPTIONS: dict[str, tuple[Any, Any]] = {
    "workers": (Workers, None),
    "cpus_per_run": (CpusPerRun, None),
    "gpus_per_run": (GpusPerRun, "0"),
    "address": (Address, None),
    "run_timeout": (RunTimeout, None),
    "retries": (Retries, 2),
    "max_failures": (MaxFailures, None),
    "checkpoint_every": (CheckpointEvery, CHECKPOINT_EVERY),
}


def term_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for `command(terms: SweepOptions, ...)`: gives it an option for each of the terms."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [p.replace(kind=keyword) for p in inspect.signature(command).parameters.values() if p.name != "terms"]
    terms = [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, (annotation, default) in OPTIONS.items()
    ]

    @wraps(command)
    def wrapper(**values: Any) -> Any:
        from fedprompt.benchmark.sweep.options import SweepOptions, parse_gpus

        given = {name: values.pop(name) for name in OPTIONS}
        gpus, size_gpus = parse_gpus(given.pop("gpus_per_run"))
        cpus = given.pop("cpus_per_run")
        return command(terms=SweepOptions(cpus=cpus, gpus=gpus, size_gpus=size_gpus, **given), **values)

    signature = [*own, *terms]
    wrapper.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in signature}
    return wrapper
