"""Scheduling options: parallelism, resources, retries, failure limits."""

from dataclasses import dataclass
from typing import Any

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.runs.store import CHECKPOINT_EVERY
from fedprompt.results.records.models import KEPT

AUTO = "auto"


def parse_gpus(text: str) -> tuple[float, bool]:
    """Parses --gpus-per-run: returns the GPUs per run, and whether to measure them. Raises `ConfigError`."""
    if text == AUTO:
        return 0.0, True
    try:
        gpus = float(text)
    except ValueError:
        gpus = -1.0
    if not 0 <= gpus < float("inf"):
        raise ConfigError(f"--gpus-per-run {text}: must be a number of GPUs from 0, such as 0.25, or {AUTO}.")
    return gpus, False


@dataclass(frozen=True)
class Shown:
    """What a sweep shows on stderr besides errors: its progress, notes, and a line for each finished run."""

    progress: bool = True
    notes: bool = True
    runs: bool = False


ALL = Shown()
LIMITS = {"workers": 1, "cpus": 1, "run_timeout": 0.1, "retries": 0, "max_failures": 1, "checkpoint_every": 0}
"""The smallest value of each scheduling option."""


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep schedules its runs.

    Attributes:
        workers: Runs at a time; None: as many as the resources allow.
        cpus: Processors and threads per run; None: the machine's processors divided by the workers.
        gpus: GPUs per run; a fraction lets runs share a GPU.
        address: The address of a Ray cluster; None: this machine.
        run_timeout: Seconds after which a run is stopped and counts as failed.
        retries: Further attempts at a run after a transient failure.
        max_failures: Failed runs after which no other run starts.
        checkpoint_every: Seconds between checkpoints; 0: every round.
        tracker: Name of the experiment tracker that receives finished runs.
        size_gpus: Whether to determine `gpus` from measured memory before the first run.
        local: Whether to run in processes of this machine, without Ray and without any port.
        shown: What is shown on stderr.
        keep_model: The trained tensors that each run keeps, `server` or `all`; None: none.
    """

    workers: int | None = None
    cpus: int | None = None
    gpus: float = 0.0
    address: str | None = None
    run_timeout: float | None = None
    retries: int = 2
    max_failures: int | None = None
    checkpoint_every: float = CHECKPOINT_EVERY
    tracker: str | None = None
    size_gpus: bool = False
    local: bool = False
    shown: Shown = ALL
    keep_model: str | None = None

    def __post_init__(self) -> None:
        """Raises `ConfigError` for a value out of range."""
        for name, least in LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value < float("inf"):
                option = "cpus-per-run" if name == "cpus" else name.replace("_", "-")
                raise ConfigError(f"--{option} {value}: must be a number from {least}.")
        if self.keep_model not in (None, *KEPT):
            raise ConfigError(f"--keep-model {self.keep_model}: must be one of {', '.join(KEPT)}.")

    def check(self, device: str) -> None:
        """Raises `ConfigError` if no run could get these resources."""
        if self.local and self.address:
            raise ConfigError(f"--local --address {self.address}: a local sweep uses no cluster; omit one of the two.")
        if (self.gpus or self.size_gpus) and device != "cuda":
            gpus = AUTO if self.size_gpus else f"{self.gpus:g}"
            raise ConfigError(f"--gpus-per-run {gpus} needs --device cuda, not {device}: the sweep selects the GPU.")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ConfigError(f"--gpus-per-run {self.gpus:g}: only whole numbers are possible above 1.")
        if not self.address and (self.cpus or 1) > processors():
            raise ConfigError(f"--cpus-per-run {self.cpus}: only {processors()} processors are available.")

    def parallel_runs(self, runs: int) -> int:
        """Returns how many of `runs` runs execute at the same time on this machine."""
        return max(1, min(self.workers or processors() // (self.cpus or 1), runs))

    def threads_per_run(self, workers: int) -> int:
        """Returns the number of threads per run if `workers` runs share this machine."""
        return self.cpus or max(1, processors() // workers)


def sweep_options(
    *, cpus_per_run: int | None = None, gpus_per_run: str | float = "0", shown: Shown = ALL, **given: Any
) -> SweepOptions:
    """Scheduling options by the names that they have on the command line. Raises `ConfigError` for a wrong value."""
    gpus, size_gpus = parse_gpus(str(gpus_per_run))
    return SweepOptions(cpus=cpus_per_run, gpus=gpus, size_gpus=size_gpus, shown=shown, **given)
