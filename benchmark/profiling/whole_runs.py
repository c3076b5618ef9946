"""What whole runs cost: what the caches save a method that trains no prompt, and what more clients cost."""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.benchmark.sweep.options import SweepOptions
from fedprompt.benchmark.sweep.progress import NoProgress
from fedprompt.benchmark.sweep.scheduler import run_all
from fedprompt.data.federation import Client, Federation
from fedprompt.data.partitions.settings import PartitionSettings
from fedprompt.methods import registry

POOL, OWN, CLASSES, COHORT = 2_048, 32, 10, 10  # made images, those of a client, classes, clients a round


class UncachedSamples(Samples):
    """Samples that keep no activation: what a run would cost without the caches."""

    def tokens(self, rows: Tensor, layer: int = 1) -> Tensor:
        """Frozen tokens, computed each time."""
        with torch.no_grad():
            return self._tokens(rows, layer)

    def features(self, rows: Tensor, layer: int | None = None) -> Tensor:
        """Frozen cls features, computed each time."""
        with torch.no_grad():
            return self._cls(rows, layer or self.vit.depth + 1)


@dataclass(frozen=True)
class CacheGain:
    """Seconds of a run of a method on the embedded default: the first, which fills the caches on its way; the next,
    which finds them filled, as all but the first of a sweep do; and one without any."""

    method: str
    rounds: int
    first: float
    next: float
    forgetful: float


def cache_gain(method: str = "head", rounds: int = 60) -> CacheGain:
    """Runs the embedded default, evaluated every fourth round, in each of the three ways."""
    config = options({"methods": (method,), "seeds": (0,), "rounds": rounds}).grid()[0]
    dataset, vit = runner.dataset(config), runner.simulator(config).context.vit
    parts = (dataset.train_x, dataset.train_y), (dataset.test_x, dataset.test_y)
    fresh, forgetful = ([kind(*part, vit) for part in parts] for kind in (Samples, UncachedSamples))
    seconds = []
    for train, test in (fresh, fresh, forgetful):
        run = runner.assemble(config, vit, train, test, runner.federation_of(config, dataset))
        began = time.perf_counter()
        run.run()
        seconds.append(time.perf_counter() - began)
    return CacheGain(method, rounds, *seconds)


@dataclass(frozen=True)
class SweepLoss:
    """Of a sweep's wall time on its workers, from each one's second run on, the share that no run takes; and seconds
    of the whole command, and of the runs themselves added up."""

    runs: int
    workers: int
    lost: float
    wall: float
    inside: float


def sweep_loss(runs: int = 60) -> SweepLoss:
    """Sweeps short runs of three methods on the embedded default, one worker a processor, into a folder that goes."""
    seeds = tuple(range(-(-runs // 3)))
    grid = options({"methods": ("head", "fedvpt", "pep-fedpt"), "seeds": seeds, "rounds": 4}).grid()[:runs]
    with tempfile.TemporaryDirectory() as folder:
        store, began = Store(folder), time.perf_counter()
        store.prepare()
        if run_all(grid, store, SweepOptions(processors()), NoProgress()).failed:
            raise RuntimeError("a run of the measured sweep failed")
        wall = time.perf_counter() - began
        results = [entry.result for entry in store.entries()]
    whens = sorted((result["when"] for result in results), key=lambda when: when["began"])
    spans = lost = 0.0
    for worker in {when["worker"] for when in whens}:
        own = [when for when in whens if when["worker"] == worker][1:]
        spans += own[-1]["ended"] - own[0]["began"] if own else 0.0
        lost += sum(after["began"] - before["ended"] for before, after in pairwise(own))
    inside = sum(result["seconds"]["total"] for result in results)
    return SweepLoss(len(grid), processors(), lost / spans, wall, inside)


@dataclass(frozen=True)
class Scale:
    """A method among so many clients: seconds of a round (median), to build the federation and to score everybody
    once, peak memory (10^6 bytes), and the bytes of one client's own tensors."""

    method: str
    clients: int
    round_seconds: float
    score_seconds: float
    peak_mb: float
    own_bytes: int


def scale(methods: Sequence[str], clients: Sequence[int], rounds: int = 20) -> list[Scale]:
    """The same cohort out of ever more clients, each in a process of its own."""
    found = []
    for method in methods:
        for count in clients:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                found.append(pool.submit(_at_scale, method, count, rounds).result())
    return found


def _at_scale(method: str, clients: int, rounds: int) -> Scale:
    runner.use_threads(1)
    vit = backbone.load(EMBEDDED, CLASSES)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (POOL, vit.image_size, vit.image_size, 3), np.uint8)
    samples = Samples(images, np.arange(POOL) % CLASSES, vit)
    training = LocalTraining(epochs=1, batch_size=16, lr=0.05, momentum=0.9, weight_decay=1e-5)
    settings = RoundSettings(rounds, COHORT / clients, rounds, training)
    streams, executor = RandomStreams("made", "iid", 0), Executor("sequential")
    run = Simulator(registry.create(method), vit, samples, samples, _federation(clients), streams, settings, executor)
    run.run()
    ends = [row["seconds"] for row in run.outcome.rounds]
    spent = np.diff(ends)[:-1]  # the last round's holds the evaluation
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    own = sum(value.nbytes for value in run.state.initial_local.values())
    return Scale(method, clients, median(spent.tolist()), run.outcome.eval_seconds, peak, own)


def _federation(clients: int) -> Federation:
    """Clients of equally many of the made images, which they share; each is tested on one."""
    members = tuple(
        Client(np.arange(k * OWN, (k + 1) * OWN) % POOL, np.array([k % POOL]), False) for k in range(clients)
    )
    counts = np.stack([np.bincount(member.train % CLASSES, minlength=CLASSES) for member in members])
    tests = np.stack([np.bincount(member.test % CLASSES, minlength=CLASSES) for member in members])
    names = tuple(map(str, range(CLASSES)))
    return Federation("made", "made", PartitionSettings("iid"), names, members, counts, tests, (0, 0), 0.0)
