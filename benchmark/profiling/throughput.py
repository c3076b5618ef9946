"""Throughput of this machine: the simulator's executors beside a bare loop over the same backbone, and its limit.

The work is FedVPT's on made images: 10 prompt tokens at the first layer and a linear head. What is compared is timed
in turn, and ratios are medians over turns, so that a machine's moods fall on both sides.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import DTYPES, FrozenViT
from fedprompt.benchmark.hardware import environment
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.runs.execute import use_threads
from fedprompt.benchmark.simulation.batch import rows_per_pass
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.scoring import ScoringTask, score
from fedprompt.benchmark.simulation.tasks import ClientState, ClientTask, LocalTraining
from fedprompt.methods import registry
from fedprompt.methods.components.prompts import insert_after_cls

STEPS = 2  # a client and measurement
KINDS = ("sequential", "threaded", "fused")
MATRIX = {"cpu": 2_048, "cuda": 8_192}  # side of the matrices whose product's rate bounds everything


@dataclass(frozen=True)
class Cell:
    """Images a second of training for one local batch and cohort; `share` is of the bare loop's best, at any batch."""

    kind: str
    batch: int
    cohort: int
    rate: float
    share: float = 0.0


@dataclass
class Throughput:
    """What a machine does with one backbone, in images a second.

    `bare` and `timm` are plain loops in one thread over our layers and over timm's own forward, by batch; `bare_all`
    and `evaluation_bare` take all processors for one batch; `bound` is the measured rate of matrix products over the
    operations of an image. `ratios` are medians over turns.
    """

    backbone: str
    precision: str
    device: str
    threads: int
    environment: dict[str, str]
    bare: dict[int, float] = field(default_factory=dict)
    bare_all: dict[int, float] = field(default_factory=dict)
    timm: dict[int, float] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    evaluation: float = 0.0
    evaluation_bare: float = 0.0
    bound: float = 0.0
    ratios: dict[str, Any] = field(default_factory=dict)

    @property
    def limit(self) -> float:
        """The fastest bare loop, at its best batch and number of threads."""
        return max([*self.bare.values(), *self.bare_all.values()])

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self) | {"limit": self.limit}


def measure(vit: FrozenViT, batches: Sequence[int], cohorts: Sequence[int], repeats: int = 3) -> Throughput:
    """Times training and evaluation over all local batches and cohorts."""
    use_threads(1)
    bench = _Bench(vit, max(batches) * STEPS * max(cohorts))
    found = Throughput(vit.name, vit.precision, str(vit.device), processors(), environment.describe())
    for batch in batches:
        _plain_loops(bench, batch, repeats, found)
    for batch in batches:
        for cohort in cohorts:
            _executors(bench, batch, cohort, repeats, found)
    found.cells = [Cell(c.kind, c.batch, c.cohort, c.rate, c.rate / found.limit) for c in found.cells]
    _evaluation(bench, repeats, found)
    found.bound = matrix_rate(vit) / operations(vit)
    return found


class _Bench:
    """FedVPT on made images that K clients share out."""

    def __init__(self, vit: FrozenViT, images: int) -> None:
        self.vit, rng = vit, np.random.default_rng(0)
        pictures = rng.integers(0, 256, (min(images, 2_048), vit.image_size, vit.image_size, 3), np.uint8)
        self.samples = Samples(pictures, rng.integers(0, vit.classes, len(pictures)), vit)
        self.recipe = registry.create("fedvpt")
        shared = self.recipe.method.shared(vit, RandomStreams("perf", "made", 0).torch)
        self.state = ClientState({name: value.to(vit.device) for name, value in shared.items()}, {}, {})
        self.samples.tokens(torch.zeros(1, dtype=torch.int64))  # fills the cache

    def jobs(self, batch: int, cohort: int) -> list[ClientTask]:
        """Clients of `STEPS` full batches each."""
        rows = np.arange(cohort * batch * STEPS) % len(self.samples)
        counts = np.ones(self.vit.classes, dtype=np.int64)
        return [
            ClientTask(k, own, counts, self.state, np.random.default_rng(k))
            for k, own in enumerate(np.split(rows, cohort))
        ]

    def training(self, batch: int) -> LocalTraining:
        """One epoch."""
        return LocalTraining(epochs=1, batch_size=batch, lr=0.05, momentum=0.9, weight_decay=1e-5)

    def finish(self) -> None:
        """Waits for the device."""
        if self.vit.device.type == "cuda":
            torch.cuda.synchronize()

    def turns(self, ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
        """Seconds of each way, taken in turn after one that is not counted."""
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats + 1):
            for name, call in ways.items():
                began = time.perf_counter()
                call()
                self.finish()
                seconds[name].append(time.perf_counter() - began)
        return {name: spent[1:] for name, spent in seconds.items()}


def _ratio(over: Sequence[float], under: Sequence[float]) -> float:
    return median(a / b for a, b in zip(over, under, strict=True))


def _plain_loops(bench: _Bench, batch: int, repeats: int, found: Throughput) -> None:
    """The bare loop at one batch, with one thread and with all, beside timm's whole forward and the simulator's."""
    (job,), training = bench.jobs(batch, 1), bench.training(batch)
    arguments = (bench.recipe, bench.vit, bench.samples, [job], training)

    def with_all() -> None:
        use_threads(processors())
        bare_loop(bench.vit, bench.samples, job, training)
        use_threads(1)

    seconds = bench.turns(
        {
            "bare": lambda: bare_loop(bench.vit, bench.samples, job, training),
            "timm": lambda: bare_loop(bench.vit, bench.samples, job, training, plain=True),
            "sequential": lambda: Executor("sequential").train(*arguments),
            "all": with_all,
        },
        3 * repeats,  # they are short, and their ratio is what is asked for
    )
    images = batch * STEPS
    found.bare[batch], found.timm[batch] = (images / median(seconds[name]) for name in ("bare", "timm"))
    found.bare_all[batch] = images / median(seconds["all"])
    found.ratios.setdefault("sequential_to_bare", {})[batch] = _ratio(seconds["bare"], seconds["sequential"])
    found.ratios.setdefault("savings_over_timm", {})[batch] = _ratio(seconds["timm"], seconds["bare"])


def _executors(bench: _Bench, batch: int, cohort: int, repeats: int, found: Throughput) -> None:
    jobs, training = bench.jobs(batch, cohort), bench.training(batch)
    cuda = bench.vit.device.type == "cuda"
    executors = {kind: Executor(kind, processors()) for kind in KINDS if not (cuda and kind == "threaded")}  # type: ignore[arg-type]
    seconds = bench.turns(
        {
            kind: lambda e=executor: e.train(bench.recipe, bench.vit, bench.samples, jobs, training)  # type: ignore[misc]
            for kind, executor in executors.items()
        },
        repeats,
    )
    images = cohort * batch * STEPS
    found.cells += [Cell(kind, batch, cohort, images / median(spent)) for kind, spent in seconds.items()]


def bare_loop(
    vit: FrozenViT, samples: Samples, job: ClientTask, training: LocalTraining, plain: bool = False
) -> dict[str, Tensor]:
    """One client's local epochs of `fedvpt` in plain torch; `plain` runs timm's own forward, from the pixels on.

    Returns the tensors it ends with, which equal the simulator's.
    """
    state = {name: value.clone().requires_grad_() for name, value in job.state.shared.items()}
    optimiser = torch.optim.SGD(
        state.values(), training.lr, momentum=training.momentum, weight_decay=training.weight_decay
    )
    order = np.random.default_rng(job.client).permutation(job.rows)
    for rows in torch.from_numpy(order).split(training.batch_size):
        tokens = vit.tokens_of(samples.pixels(rows)) if plain else samples.tokens(rows)
        x = insert_after_cls(tokens, state["prompt"].expand(len(rows), -1, -1))
        feature = _timm_encode(vit, x) if plain else vit.encode(x)
        logits = functional.linear(feature, state["head.weight"], state["head.bias"])
        loss = functional.cross_entropy(logits, samples.labels[rows.to(vit.device)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {name: value.detach() for name, value in state.items()}


def _timm_encode(vit: FrozenViT, x: Tensor) -> Tensor:
    x = x.to(DTYPES[vit.precision])
    for block in vit.blocks:
        x = block(x)
    return vit.model.norm(x.float())[:, 0]


def _evaluation(bench: _Bench, repeats: int, found: Throughput) -> None:
    """`score` beside a forward pass without gradient, both with all processors in the way that is fastest for each."""
    vit, rows = bench.vit, np.arange(len(bench.samples))
    own = np.array_split(rows, 16)
    subjects = [ScoringTask(k, r, np.ones(vit.classes, np.int64), bench.state) for k, r in enumerate(own)]
    prompt = bench.state.shared["prompt"]

    @torch.no_grad()
    def forward(size: int) -> None:
        for chunk in torch.from_numpy(rows).split(size):
            vit.encode(insert_after_cls(bench.samples.tokens(chunk), prompt.expand(len(chunk), -1, -1)))

    ways: dict[str, Callable[[], object]] = {
        f"bare {size}": lambda s=size: forward(s)  # type: ignore[misc]
        for size in sorted({16, 64, 256, rows_per_pass(vit.device.type, vit.tokens)})
    }
    ways["score"] = lambda: score(bench.recipe, vit, bench.samples, subjects)
    seconds = bench.turns(ways, repeats)
    best = min((spent for name, spent in seconds.items() if name != "score"), key=median)
    found.evaluation, found.evaluation_bare = (len(rows) / median(spent) for spent in (seconds["score"], best))
    found.ratios["evaluation_to_bare"] = _ratio(best, seconds["score"])


def operations(vit: FrozenViT, prompts: int = 10) -> float:
    """Multiplications and additions of an image's forward and backward pass, the last block for cls alone."""
    tokens = vit.tokens + prompts
    block = 12 * vit.dim**2 * tokens + 2 * tokens**2 * vit.dim
    last = 2 * vit.dim**2 * tokens + 10 * vit.dim**2 + 2 * tokens * vit.dim
    return 2.0 * 2.0 * ((vit.depth - 1) * block + last)


def matrix_rate(vit: FrozenViT) -> float:
    """Operations a second of a large matrix product in the precision of the blocks, with all processors."""
    use_threads(processors())
    side = MATRIX[vit.device.type]
    a = torch.ones(side, side, device=vit.device, dtype=DTYPES[vit.precision])
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        a @ a
        if vit.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    use_threads(1)
    return 2.0 * side**3 / median(seconds[1:])
