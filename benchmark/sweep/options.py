"""On what terms a sweep runs: how many runs at a time, with what each, where, and what it puts up with."""

from dataclasses import dataclass

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.runs.store import CHECKPOINT_EVERY

AUTO = "auto"


def gpus_asked(text: str) -> tuple[float, bool]:
    """GPUs of each run, and whether they are to be sized, by --gpus-per-run. Raises `ConfigError`."""
    if text == AUTO:
        return 0.0, True
    try:
        gpus = float(text)
    except ValueError:
        gpus = -1.0
    if not 0 <= gpus < float("inf"):
        raise ConfigError(f"--gpus-per-run {text}: need a number of GPUs from 0, as in 0.25, or {AUTO}.")
    return gpus, False


@dataclass(frozen=True)
class SweepOptions:
    """`workers` runs at a time (None: as many as there is room for), each with `cpus` and `gpus`, a GPU's share too;
    with `size_gpus` that share is found from measured memory before the first run.

    `run_timeout` are seconds that a run may take, `retries` further attempts at one that a transient failure ended,
    `max_failures` failed runs after which no other begins, `checkpoint_every` seconds between two states kept of a run
    under way; 0: one a round. `tracker` is told of runs that are done.
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

    def check(self, device: str) -> None:
        """Raises `ConfigError` where the terms cannot be met whatever is run."""
        if (self.gpus or self.size_gpus) and device != "cuda":
            asked = AUTO if self.size_gpus else f"{self.gpus:g}"
            raise ConfigError(f"--gpus-per-run {asked} is for --device cuda, not {device}: Ray numbers the GPUs.")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ConfigError(f"--gpus-per-run {self.gpus:g}: above 1, Ray gives whole GPUs only.")
        if not self.address and (self.cpus or 1) > processors():
            raise ConfigError(f"--cpus-per-run {self.cpus}: this process may use {processors()}.")

    def at_a_time(self, runs: int) -> int:
        """How many of so many runs go on at once on this machine."""
        return max(1, min(self.workers or processors() // (self.cpus or 1), runs))

    def threads(self, workers: int) -> int:
        """Processors of one run on this machine."""
        return self.cpus or max(1, processors() // workers)
