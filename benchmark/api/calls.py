"""`run` and `sweep`: the commands of the same names, for scripts and notebooks."""

import importlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fedprompt.benchmark.api.options import SCHEDULING, Keep, RunOptions, SweepKeywords, given
from fedprompt.benchmark.api.record import Record
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.errors import RunError, Stopped
from fedprompt.benchmark.runs.precision import resolve_precision
from fedprompt.benchmark.runs.starting_point import starting_point
from fedprompt.benchmark.runs.store import CHECKPOINT_EVERY, Store
from fedprompt.benchmark.scheduling.launch import Launch, single_run
from fedprompt.benchmark.scheduling.options import Shown, SweepOptions, sweep_options
from fedprompt.results.records.frames import RunFrame, load

if TYPE_CHECKING:
    from fedprompt.benchmark.scheduling.callbacks import RoundCallback


def run(
    method: str | None = None,
    *,
    dataset: str | None = None,
    alpha: float | None = None,
    seed: int | None = None,
    preset: str | Path | None = None,
    from_run: str | Path | None = None,
    out: str | Path | None = None,
    keep_model: Keep | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    on_round: "RoundCallback | None" = None,
    progress: bool = True,
    **others: Unpack[RunOptions],
) -> Record:
    """Executes one run in this process, like `bench run`.

    Args:
        method: Its name, `METHOD[:VARIANT][:FIELD=VALUE...][+PLUGIN...]`.
        dataset: The data set; by default scikit-learn's digits.
        alpha: The Dirichlet concentration; smaller is more skewed.
        seed: The seed; by default 0.
        preset: Options by preset name or from a YAML file. The arguments take precedence.
        from_run: The run whose kept model this one starts from: `DIR/RUN_ID`, or its id in `out`. Its options are the
            defaults of all others, also of the method. With `rounds=0` the model is only evaluated.
        out: Directory of runs that stores the run, for `load`. A run that is finished there is not repeated, and an
            interrupted one is resumed. None: nothing is left on disk.
        keep_model: Keeps the trained tensors of the `server`, or `all` with the clients' too: `Record.model`.
        checkpoint_every: Seconds between checkpoints; 0: every round.
        on_round: Called with a `Round` after each round. An exception in it stops the run, and is raised here.
        progress: Whether to show progress on stderr.
        **others: The other options of `bench run`, with underscores: `rounds=5`, `lr=0.1`, `set="fedvpt.tokens=5"`.

    Returns:
        The record of the run.

    Raises:
        ConfigError, DataError, MethodError: An option is wrong, or data or weights are missing.
        RunError: The run has failed.
        RecordError: A finished run in `out` cannot be read.
    """
    values = {"methods": method, "datasets": dataset, "alpha": alpha, "seeds": None if seed is None else [seed]}
    start = starting_point(str(from_run), None if out is None else Path(out)) if from_run is not None else None
    chosen = options(given({**values, **others}), None if preset is None else str(preset), start)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-run-")) if out is None else out
        launch = Launch([config := single_run(chosen)], Store(folder), keep=keep_model)
        scheduling = SweepOptions(
            workers=1, checkpoint_every=checkpoint_every, shown=Shown(progress, progress), keep_model=keep_model
        )
        _launched(launch, scheduling, chosen, on_round)
        place = launch.store.directory / config.run_id
        entry = launch.store.entry(config.run_id)
        assert entry is not None, "a run that ended is in the store"
        if entry.status != "done":
            log = (place / "log.txt").read_text(encoding="utf-8")
            what = f"{config.method} on {config.dataset}, seed {config.seed}"
            raise RunError(f"{what} failed: {entry.result['error']}", entry.result["error_kind"], log)
        return Record.read(place, kept=out is not None)


def sweep(
    methods: str | Sequence[str] | None = None,
    *,
    datasets: str | Sequence[str] | None = None,
    alpha: float | Sequence[float] | str | None = None,
    seeds: int | Sequence[int] | str | None = None,
    preset: str | Path | None = None,
    out: str | Path = "runs/default",
    on_round: "RoundCallback | None" = None,
    progress: bool = True,
    **others: Unpack[SweepKeywords],
) -> RunFrame:
    """Executes a grid methods x data sets x alphas x seeds, like `bench sweep`.

    The same call resumes a sweep after an interruption, also by Ctrl-C; with a wider grid it extends the sweep.
    Finished runs are never repeated, failed ones are.

    Args:
        methods: Names, wildcards or `all`, the default.
        datasets: The data sets; by default scikit-learn's digits.
        alpha: One or more Dirichlet concentrations.
        seeds: The number of seeds, 3 for 0, 1 and 2; or the seeds themselves, such as `[3]` or `"0-5"`. By default 3.
        preset: Options by preset name or from a YAML file. The arguments take precedence.
        out: Directory of runs.
        on_round: Called in this process with a `Round` after each round of each run, wherever the run is executed. An
            exception in it ends the sweep as Ctrl-C does, and is raised here.
        progress: Whether to show progress and notes on stderr.
        **others: The other options of `bench sweep`, with underscores. `local=True` uses a process pool in place of
            Ray; `keep_model="server"` keeps the trained tensors.

    Returns:
        One row per run, as `load`; failed runs are rows with a `status` and an `error`.

    Raises:
        ConfigError, DataError, MethodError: An option is wrong, or data or weights are missing; nothing was run.
        RecordError: A record in `out` cannot be read.
    """
    scheduling = {name: others.pop(name) for name in SCHEDULING if name in others}  # type: ignore[misc]
    values: dict[str, Any] = {"methods": methods, "datasets": datasets, "alpha": alpha}
    values["seeds"] = range(seeds) if isinstance(seeds, int) else seeds
    chosen = options(given({**values, **others}), None if preset is None else str(preset))
    schedule = sweep_options(shown=Shown(progress, progress), **scheduling)
    launch = Launch(resolve_precision(chosen.grid()), Store(out), keep=schedule.keep_model)
    _launched(launch, schedule, chosen, on_round)
    return load(out, [config.run_id for config in launch.grid])


def _launched(launch: Launch, schedule: SweepOptions, chosen: Any, on_round: "RoundCallback | None") -> None:
    """Executes the pending runs. Raises what a callback raises."""
    _load_tqdm()
    try:
        with _threads_restored():
            launch.run(schedule, chosen, on_round=on_round)
    except Stopped as stop:
        raise stop.error from None


def _load_tqdm() -> None:
    """Loads a library of timm without its warning in notebooks that its bars of downloads are plain there."""
    with warnings.catch_warnings(), suppress(ImportError):
        warnings.simplefilter("ignore")
        importlib.import_module("tqdm.auto")


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Restores the number of torch's threads, which runs in this process set."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
