"""Scheduling options, which sweep and retry have and tune has in part."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedprompt.benchmark.cli.common_options import finite, kept, with_parameters
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import CHECKPOINT_EVERY
from fedprompt.results.records.models import KEPT

if TYPE_CHECKING:
    from fedprompt.benchmark.scheduling.options import Shown

Workers = Annotated[int | None, typer.Option(min=1, help="runs at a time (default: as many as resources allow)")]
Address = Annotated[str | None, typer.Option(help="address of an existing Ray cluster; the code is uploaded to it")]
Local = Annotated[bool, typer.Option("--local", help="use a process pool instead of Ray; no port is opened")]
CheckpointEvery = Annotated[
    float, typer.Option(min=0, callback=finite, help="seconds between checkpoints; 0: every round")
]
CpusPerRun = Annotated[int | None, typer.Option(min=1, help="processors, and threads, per run")]
GpusPerRun = Annotated[
    str, typer.Option(help="GPUs per run; 0.25: four runs share one; auto: as many as fit by measured memory")
]
RunTimeout = Annotated[
    float | None, typer.Option(min=0.1, callback=finite, help="seconds after which a run is stopped as failed")
]
Retries = Annotated[int, typer.Option(min=0, help="retries after a killed worker, lost node or lack of memory")]
MaxFailures = Annotated[int | None, typer.Option(min=1, help="failed runs after which no further run starts")]

KeepModel = Annotated[
    str | None,
    typer.Option(
        metavar=f"[{'|'.join(KEPT)}]",
        callback=kept,
        help="keep the trained tensors of each run: the server's, or all with the clients' too",
    ),
]

NoProgress = Annotated[bool, typer.Option("--no-progress", help="show no progress; notes and errors are shown")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="show results and errors only")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="also show each finished run")]

SHOWN: dict[str, tuple[Any, Any]] = {
    "no_progress": (NoProgress, False),
    "quiet": (Quiet, False),
    "verbose": (Verbose, False),
}
OPTIONS: dict[str, tuple[Any, Any]] = {
    "workers": (Workers, None),
    "cpus_per_run": (CpusPerRun, None),
    "gpus_per_run": (GpusPerRun, "0"),
    "address": (Address, None),
    "local": (Local, False),
    "run_timeout": (RunTimeout, None),
    "retries": (Retries, 2),
    "max_failures": (MaxFailures, None),
    "checkpoint_every": (CheckpointEvery, CHECKPOINT_EVERY),
    "keep_model": (KeepModel, None),
}


def scheduling_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that replaces a command's parameter `sweep_options` by one option per scheduling option."""

    @wraps(command)
    def wrapper(**values: Any) -> Any:
        """Calls the command with the options as `SweepOptions`."""
        from fedprompt.benchmark.scheduling.options import sweep_options

        shown = shown_of(**{name: values.pop(name) for name in SHOWN})
        given = {name: values.pop(name) for name in OPTIONS}
        return command(sweep_options=sweep_options(shown=shown, **given), **values)

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in (OPTIONS | SHOWN).items()
    ]
    return with_parameters(wrapper, command, "sweep_options", after=added)


def shown_of(no_progress: bool, quiet: bool, verbose: bool) -> "Shown":
    """What the options --no-progress, --quiet and --verbose leave to show."""
    from fedprompt.benchmark.scheduling.options import Shown

    if quiet and verbose:
        raise ConfigError("--quiet and --verbose exclude each other: use one of them.")
    return Shown(not (no_progress or quiet), not quiet, verbose)
