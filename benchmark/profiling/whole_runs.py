"""Cost of whole runs: time saved by the caches, overhead of a sweep, and time and memory by number of clients."""

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
from torch import Tensor

from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.scheduling.options import SweepOptions
from fedprompt.benchmark.scheduling.progress import ProgressListener
from fedprompt.benchmark.scheduling.scheduler import run_all
from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.data.federation import Client, Federation
from fedprompt.data.partitions.settings import PartitionSettings
from fedprompt.methods import registry

IMAGES, PER_CLIENT, CLASSES, COHORT = 2_048, 32, 10, 10  # images in total and per client, classes, clients per round


class UncachedSamples(Samples):
    """Samples that compute frozen activations on each request."""

    def _activations(self, kind: tuple[str, int], shape: tuple[int, ...], rows: Tensor) -> Tensor:
        return self._compute(kind, rows)


@dataclass(frozen=True)
class CacheGain:
    """Seconds of a run with the default options: `first` fills the caches, `next` uses them, `forgetful` has none."""

    method: str
    rounds: int
    first: float
    next: float
    forgetful: float


def cache_gain(method: str = "head", rounds: int = 60) -> CacheGain:
    """Measures a method with the default options: first run, next run, and without caches."""
    config = options({"methods": (method,), "seeds": (0,), "rounds": rounds, "precision": "fp32"}).grid()[0]
    dataset, vit = runner.dataset(config), runner.simulator(config).context.vit
    splits = (dataset.train_x, dataset.train_y), (dataset.test_x, dataset.test_y)
    cached, uncached = ([kind(*split, vit) for split in splits] for kind in (Samples, UncachedSamples))
    seconds = []
    for train, test in (cached, cached, uncached):
        run = runner.assemble(config, vit, train, test, runner.federation_of(config, dataset))
        started = time.perf_counter()
        run.run()
        seconds.append(time.perf_counter() - started)
    return CacheGain(method, rounds, *seconds)


@dataclass(frozen=True)
class SweepLoss:
    """Overhead of a sweep.

    Attributes:
        lost: Share of the workers' time between runs, from each worker's second run on.
        wall: Seconds of the whole sweep.
        inside: Seconds of all runs, added up.
    """

    runs: int
    workers: int
    lost: float
    wall: float
    inside: float


def sweep_loss(runs: int = 60) -> SweepLoss:
    """Measures a sweep of short runs of three methods, with one worker per processor, in a temporary folder."""
    seeds = tuple(range(-(-runs // 3)))
    given = {"methods": ("head", "fedvpt", "pep-fedpt"), "seeds": seeds, "rounds": 4, "precision": "fp32"}
    grid = options(given).grid()[:runs]
    with tempfile.TemporaryDirectory() as folder:
        store, started = Store(folder), time.perf_counter()
        store.prepare()
        if run_all(grid, store, SweepOptions(processors()), ProgressListener()).failed:
            raise RuntimeError("a run of the measured sweep failed; run `bench sweep` with the same methods to see why")
        wall = time.perf_counter() - started
        results = [entry.result for entry in store.entries()]
    times = sorted((result["when"] for result in results), key=lambda when: when["began"])
    total = lost = 0.0
    for worker in {when["worker"] for when in times}:
        runs_of_worker = [when for when in times if when["worker"] == worker][1:]
        total += runs_of_worker[-1]["ended"] - runs_of_worker[0]["began"] if runs_of_worker else 0.0
        lost += sum(after["began"] - before["ended"] for before, after in pairwise(runs_of_worker))
    inside = sum(result["seconds"]["total"] for result in results)
    return SweepLoss(len(grid), processors(), lost / total, wall, inside)


@dataclass(frozen=True)
class Scale:
    """Cost of a method by number of clients.

    Attributes:
        round_seconds: Median over rounds.
        score_seconds: One evaluation of all clients.
        peak_mb: Peak memory of the process, in 10^6 bytes.
        own_bytes: Size of the local tensors per client.
    """

    method: str
    clients: int
    round_seconds: float
    score_seconds: float
    peak_mb: float
    own_bytes: int


def scale(methods: Sequence[str], clients: Sequence[int], rounds: int = 20) -> list[Scale]:
    """Measures methods with the same cohort size among more and more clients, each in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return [pool.submit(_measure_scale, method, count, rounds).result() for method in methods for count in clients]


def _measure_scale(method: str, clients: int, rounds: int) -> Scale:
    runner.use_threads(1)
    vit = backbone.load(EMBEDDED, CLASSES)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, vit.image_size, vit.image_size, 3), np.uint8)
    samples = Samples(images, np.arange(IMAGES) % CLASSES, vit)
    training = LocalTraining(epochs=1, batch_size=16, lr=0.05, momentum=0.9, weight_decay=1e-5)
    settings = RoundSettings(rounds, COHORT / clients, rounds, training, personal_epochs=0)
    streams, executor = RandomStreams("made", "iid", 0), Executor("sequential")
    run = Simulator(registry.create(method), vit, samples, samples, _federation(clients), streams, settings, executor)
    run.run()
    seconds = np.diff([row["seconds"] for row in run.outcome.rounds])[:-1]  # the last one includes the evaluation
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    local_bytes = sum(value.nbytes for value in run.state.initial_local.values())
    return Scale(method, clients, median(seconds.tolist()), run.outcome.eval_seconds, peak, local_bytes)


def _federation(clients: int) -> Federation:
    """Returns clients with 32 training images and one test image each, out of the same pool."""
    members = tuple(
        Client(np.arange(k * PER_CLIENT, (k + 1) * PER_CLIENT) % IMAGES, np.array([k % IMAGES]), False)
        for k in range(clients)
    )
    counts = np.stack([np.bincount(member.train % CLASSES, minlength=CLASSES) for member in members])
    tests = np.stack([np.bincount(member.test % CLASSES, minlength=CLASSES) for member in members])
    names = tuple(map(str, range(CLASSES)))
    return Federation("made", "made", PartitionSettings("iid"), names, members, counts, tests, (0, 0), 0.0)
