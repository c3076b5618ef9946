"""How long the rest of a sweep takes, from what its runs have taken so far."""

import heapq
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs.store import Entry
from fedprompt.benchmark.scheduling.order import seconds_of, work
from fedprompt.data import registry

KNOWN, UNKNOWN = 1.1, 2.0  # a range goes from the estimate divided by this to the estimate times this
FITS = 8  # passes of the fit, which converges after a few
MIN_SHARE = 0.05  # of a run, below which its first steps say little


class Kind(NamedTuple):
    """What the duration of a run depends on, besides its work."""

    method: str
    workload: Hashable


class TimeLeft(NamedTuple):
    """The estimated seconds left, and the ends of their range."""

    seconds: float
    low: float
    high: float


@dataclass
class _Run:
    """A run under way or pending. `done` is the share of its rounds that took `seconds` so far."""

    kind: Kind
    work: float
    began: float | None = None
    seconds: float = 0.0
    done: float = 0.0


@dataclass
class _Observed:
    """Seconds that so much work of one kind has taken."""

    seconds: float = 0.0
    work: float = 0.0

    def add(self, seconds: float, work: float) -> None:
        """Adds the seconds that some work took."""
        self.seconds += seconds
        self.work += work


class Forecast:
    """Estimates the time left of a sweep while it runs.

    A run is expected to take its work (rounds x epochs x participation x images) times a factor of its method and a
    factor of its data set and backbone, fitted to the runs that have ended, the finished shares of those under way, and
    `earlier` records. A method without any has the mean factor.
    """

    def __init__(self, configs: Sequence[RunConfig], earlier: Iterable[Entry] = ()) -> None:
        images = _images(config.dataset for config in configs)
        self.runs = {  # those that have not ended
            c.run_id: _Run(Kind(c.method, (c.dataset, c.backbone)), work(c.model_dump()) * images[c.dataset])
            for c in configs
        }
        self.observed: dict[Kind, _Observed] = {}
        for entry in earlier:
            if (seconds := seconds_of(entry)) is not None:
                config = entry.result["config"]
                # Earlier runs say how methods compare, not how fast this sweep is: their workloads are separate.
                kind = Kind(config["method"], ("earlier", config["dataset"], config["backbone"]))
                self.observed.setdefault(kind, _Observed()).add(seconds, work(config))
        self.first: float | None = None  # when the first run began
        self.busy = 0.0  # seconds of all runs that have ended
        self.workers = 1  # the most runs that were under way at once
        self.overhead = 1.0  # wall-clock seconds of a worker per second in which it executes a run

    def reached(self, run_id: str, share: float, now: float) -> None:
        """Notes that a run has begun or reached a share of its rounds."""
        run = self.runs[run_id]
        self.first = now if self.first is None else self.first
        if run.began is None:
            run.began = now
            self.workers = max(self.workers, sum(other.began is not None for other in list(self.runs.values())))
        run.done, run.seconds = share, now - run.began

    def ended(self, run_id: str, succeeded: bool, now: float) -> None:
        """Notes the end of a run. A failed one is no evidence of what others take."""
        run = self.runs.pop(run_id)
        if run.began is not None:
            self.busy += now - run.began
            if succeeded:
                self.observed.setdefault(run.kind, _Observed()).add(now - run.began, run.work)

    def time_left(self, now: float) -> TimeLeft | None:
        """The estimate, None before the first evidence."""
        runs = list(self.runs.values())
        factors = _Factors(self._evidence(runs))
        if self.first is None or now <= self.first or not factors.mean:
            return None
        left = [(run, factors.seconds(run) * (1 - run.done)) for run in runs]
        total = sum(seconds for _, seconds in left)
        begun = [run.began for run in runs if run.began is not None]
        if len(begun) < len(runs):  # at the end of a sweep, idle workers are no overhead
            busy = self.busy + sum(now - began for began in begun)
            self.overhead = self.workers * (now - self.first) / max(busy, 1e-9)
        seconds = self.overhead * _scheduled(left, self.workers)
        unknown = sum(seconds for run, seconds in left if not factors.knows(run)) / total if total else 0.0
        spread = KNOWN + (UNKNOWN - KNOWN) * unknown
        return TimeLeft(seconds, seconds / spread, seconds * spread)

    def _evidence(self, runs: Sequence[_Run]) -> dict[Kind, _Observed]:
        """What was observed of each kind, with the finished shares of the runs under way."""
        evidence = {kind: replace(seen) for kind, seen in list(self.observed.items())}
        for run in runs:
            if run.done >= MIN_SHARE and run.seconds > 0:
                evidence.setdefault(run.kind, _Observed()).add(run.seconds, run.work * run.done)
        return evidence


class _Factors:
    """Factors of methods and of workloads with which each takes, in sum, the seconds that were observed."""

    def __init__(self, evidence: Mapping[Kind, _Observed]) -> None:
        self.methods: dict[Hashable, float] = {}
        self.workloads: dict[Hashable, float] = {}
        seen = [(kind, each.seconds, each.work) for kind, each in evidence.items()]
        for _ in range(FITS):
            self.workloads = _ratios((kind.workload, s, w * self.methods.get(kind.method, 1.0)) for kind, s, w in seen)
            self.methods = _ratios((kind.method, s, w * self.workloads.get(kind.workload, 0.0)) for kind, s, w in seen)
        self.mean = _ratios((None, s, w * self.methods.get(kind.method, 0.0)) for kind, s, w in seen).get(None, 0.0)

    def seconds(self, run: _Run) -> float:
        """The expected seconds of a whole run."""
        method, workload = run.kind
        return run.work * self.methods.get(method, 1.0) * self.workloads.get(workload, self.mean)

    def knows(self, run: _Run) -> bool:
        """Whether both factors of a run were observed."""
        return run.kind.method in self.methods and run.kind.workload in self.workloads


def _scheduled(left: Sequence[tuple[_Run, float]], workers: int) -> float:
    """When the last run ends, in seconds from now, if each pending run in turn goes to the next free worker."""
    free = sorted(seconds for run, seconds in left if run.began is not None)
    free = [0.0] * (workers - len(free)) + free
    for run, seconds in left:
        if run.began is None:
            heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def _ratios(terms: Iterable[tuple[Hashable, float, float]]) -> dict[Hashable, float]:
    """Sum of the second over sum of the third values, by the first."""
    sums: dict[Hashable, tuple[float, float]] = {}
    for key, above, below in terms:
        earlier = sums.get(key, (0.0, 0.0))
        sums[key] = (earlier[0] + above, earlier[1] + below)
    return {key: above / below for key, (above, below) in sums.items() if below}


def _images(datasets: Iterable[str]) -> dict[str, float]:
    """Training images per data set; where the number is not known without loading, the mean of the others."""
    published = {name: registry.source(name).train for name in dict.fromkeys(datasets)}
    known = [number for number in published.values() if number]
    mean = sum(known) / len(known) if known else 1.0
    return {name: float(number or mean) for name, number in published.items()}
