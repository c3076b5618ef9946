"""Throughput of this machine: the simulator's executors compared with plain PyTorch loops and an upper bound.

The workload is FedVPT on random images: 10 prompt tokens at the first layer and a linear head. Alternatives are timed
in turn, and ratios are medians over turns, so that changes in the machine's speed affect both sides.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedprompt.benchmark.backbone.families import require_plain_vit
from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import DTYPES, FrozenViT
from fedprompt.benchmark.hardware import environment
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.runs.execute import use_threads
from fedprompt.benchmark.simulation.batch import rows_per_pass
from fedprompt.benchmark.simulation.evaluation.scoring import ScoringTask, score
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.tasks import ClientState, ClientTask, LocalTraining
from fedprompt.methods import registry
from fedprompt.methods.components.prompts import insert_after_cls

STEPS = 2  # per client and measurement
KINDS = ("sequential", "threaded", "fused")
MATRIX = {"cpu": 2_048, "cuda": 8_192}  # side of the square matrices whose product gives the upper bound


@dataclass(frozen=True)
class ExecutorRate:
    """Training images per second of one executor; `share` is relative to the fastest bare loop."""

    kind: str
    batch: int
    cohort: int
    rate: float
    share: float = 0.0


@dataclass
class Throughput:
    """Throughput of a machine with one backbone, in images per second.

    Attributes:
        bare, timm: By batch size: one-thread PyTorch loops over our layers, and over timm's forward from pixels.
        bare_all: By batch size: the bare loop with all processors.
        cells: Training with each executor, local batch size and cohort size.
        evaluation, evaluation_bare: Evaluation by the simulator, and a forward pass without gradient.
        bound: Rate of a large matrix product divided by the operations per image.
        ratios: Medians over turns: `sequential_to_bare` and `savings_over_timm` by batch size, `evaluation_to_bare`.
    """

    backbone: str
    precision: str
    device: str
    threads: int
    environment: dict[str, str]
    bare: dict[int, float] = field(default_factory=dict)
    bare_all: dict[int, float] = field(default_factory=dict)
    timm: dict[int, float] = field(default_factory=dict)
    cells: list[ExecutorRate] = field(default_factory=list)
    evaluation: float = 0.0
    evaluation_bare: float = 0.0
    bound: float = 0.0
    ratios: dict[str, Any] = field(default_factory=dict)

    @property
    def limit(self) -> float:
        """The fastest bare loop over batch sizes and numbers of threads."""
        return max([*self.bare.values(), *self.bare_all.values()])

    def as_json(self) -> dict[str, Any]:
        """Returns plain values for a JSON file."""
        return asdict(self) | {"limit": self.limit}


def measure(vit: FrozenViT, batches: Sequence[int], cohorts: Sequence[int], repeats: int = 3) -> Throughput:
    """Measures training with each batch and cohort size, and evaluation; `repeats` turns each.

    Raises:
        ConfigError: timm's own blocks, with which the measurement compares, cannot take prompts.
    """
    require_plain_vit(vit.name, vit.model, "bench perf, which compares with timm's own blocks,")
    result = Throughput(vit.name, vit.precision, str(vit.device), processors(), environment.describe())
    for _ in measure_in_parts(result, vit, batches, cohorts, repeats):
        pass
    return result


def measure_in_parts(
    result: Throughput, vit: FrozenViT, batches: Sequence[int], cohorts: Sequence[int], repeats: int
) -> Iterator[None]:
    """Like `measure`, but fills in `result` and yields after each part: the bare loops come first, then the cells."""
    use_threads(1)
    work = Workload(vit, max(batches) * STEPS * max(cohorts))
    for batch in batches:
        _measure_loops(work, batch, repeats, result)
        yield
    for batch in batches:
        for cohort in cohorts:
            result.cells += _measure_executors(work, batch, cohort, repeats, result.limit)
            yield
    _measure_evaluation(work, repeats, result)
    result.bound = matrix_rate(vit) / operations(vit)
    yield


class Workload:
    """A method on random images, which all clients share."""

    def __init__(self, vit: FrozenViT, images: int, method: str = "fedvpt") -> None:
        self.vit, rng = vit, np.random.default_rng(0)
        pixels = rng.integers(0, 256, (min(images, 2_048), vit.image_size, vit.image_size, 3), np.uint8)
        self.samples = Samples(pixels, rng.integers(0, vit.classes, len(pixels)), vit)
        self.recipe = registry.create(method)
        shared = self.recipe.method.shared(vit, RandomStreams("perf", "made", 0).torch)
        self.state = ClientState({name: value.to(vit.device) for name, value in shared.items()}, {}, {})
        self.samples.tokens(torch.zeros(1, dtype=torch.int64))  # fills the cache

    def tasks(self, batch: int, cohort: int) -> list[ClientTask]:
        """Returns clients with `STEPS` full batches each."""
        rows = np.arange(cohort * batch * STEPS) % len(self.samples)
        counts = np.ones(self.vit.classes, dtype=np.int64)
        return [
            ClientTask(k, part, counts, self.state, np.random.default_rng(k))
            for k, part in enumerate(np.split(rows, cohort))
        ]

    def training(self, batch: int) -> LocalTraining:
        """Returns one local epoch."""
        return LocalTraining(epochs=1, batch_size=batch, lr=0.05, momentum=0.9, weight_decay=1e-5)

    def time(self, functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
        """Returns the seconds of each function, called in turn; the first turn is a warm-up."""
        seconds: dict[str, list[float]] = {name: [] for name in functions}
        for _ in range(repeats + 1):
            for name, function in functions.items():
                seconds[name].append(_seconds(function, self.vit.device))
        return {name: values[1:] for name, values in seconds.items()}


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    return median(a / b for a, b in zip(numerators, denominators, strict=True))


def _measure_loops(work: Workload, batch: int, repeats: int, result: Throughput) -> None:
    """Measures the bare loop with one and with all threads, timm's forward, and the sequential executor."""
    (task,), training = work.tasks(batch, 1), work.training(batch)
    bare = partial(bare_loop, work.vit, work.samples, task, training)

    def all_threads() -> None:
        use_threads(processors())
        bare()
        use_threads(1)

    functions: dict[str, Callable[[], object]] = {
        "bare": bare,
        "timm": partial(bare, timm=True),
        "sequential": partial(Executor("sequential").train, work.recipe, work.vit, work.samples, [task], training),
        "all": all_threads,
    }
    seconds = work.time(functions, 3 * repeats)  # they are short, and their ratio must be accurate
    images = batch * STEPS
    result.bare[batch], result.timm[batch], result.bare_all[batch] = (
        images / median(seconds[name]) for name in ("bare", "timm", "all")
    )
    result.ratios.setdefault("sequential_to_bare", {})[batch] = _ratio(seconds["bare"], seconds["sequential"])
    result.ratios.setdefault("savings_over_timm", {})[batch] = _ratio(seconds["timm"], seconds["bare"])


def _measure_executors(work: Workload, batch: int, cohort: int, repeats: int, limit: float) -> list[ExecutorRate]:
    tasks, training = work.tasks(batch, cohort), work.training(batch)
    cuda = work.vit.device.type == "cuda"
    functions = {
        kind: partial(Executor(kind, processors()).train, work.recipe, work.vit, work.samples, tasks, training)  # type: ignore[arg-type]
        for kind in KINDS
        if not (cuda and kind == "threaded")
    }
    rates = {kind: cohort * batch * STEPS / median(s) for kind, s in work.time(functions, repeats).items()}
    return [ExecutorRate(kind, batch, cohort, rate, rate / limit) for kind, rate in rates.items()]


def bare_loop(
    vit: FrozenViT, samples: Samples, task: ClientTask, training: LocalTraining, timm: bool = False
) -> dict[str, Tensor]:
    """Trains one client with `fedvpt` in plain PyTorch.

    Args:
        vit, samples, task, training: As for the simulator. The order of the images depends on the client's number.
        timm: Use timm's own forward pass from pixels instead of our layers on cached tokens.

    Returns:
        The trained tensors, equal to the simulator's.
    """
    state = {name: value.clone().requires_grad_() for name, value in task.state.shared.items()}
    optimiser = torch.optim.SGD(
        state.values(), training.lr, momentum=training.momentum, weight_decay=training.weight_decay
    )
    order = np.random.default_rng(task.client).permutation(task.rows)
    for rows in torch.from_numpy(order).split(training.batch_size):
        tokens = vit.tokens_of(samples.pixels(rows)) if timm else samples.tokens(rows)
        x = insert_after_cls(tokens, state["prompt"].expand(len(rows), -1, -1))
        feature = _timm_encode(vit, x) if timm else vit.encode(x)
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


def _measure_evaluation(work: Workload, repeats: int, result: Throughput) -> None:
    """Measures `score`, and a forward pass without gradient at its fastest batch size; both use all processors."""
    vit, rows = work.vit, np.arange(len(work.samples))
    counts, prompt = np.ones(vit.classes, np.int64), work.state.shared["prompt"]
    subjects = [ScoringTask(k, part, counts, work.state) for k, part in enumerate(np.array_split(rows, 16))]

    @torch.no_grad()
    def forward(size: int) -> None:
        for chunk in torch.from_numpy(rows).split(size):
            vit.encode(insert_after_cls(work.samples.tokens(chunk), prompt.expand(len(chunk), -1, -1)))

    sizes = sorted({16, 64, 256, rows_per_pass(vit.device.type, vit.tokens)})
    functions: dict[str, Callable[[], object]] = {f"bare {size}": partial(forward, size) for size in sizes}
    functions["score"] = partial(score, work.recipe, vit, work.samples, subjects)
    seconds = work.time(functions, repeats)
    scored = seconds.pop("score")
    bare = min(seconds.values(), key=median)
    result.evaluation, result.evaluation_bare = len(rows) / median(scored), len(rows) / median(bare)
    result.ratios["evaluation_to_bare"] = _ratio(bare, scored)


def operations(vit: FrozenViT, prompts: int = 10) -> float:
    """Returns multiplications and additions per image, forward and backward; the last block computes cls only."""
    tokens = vit.tokens + prompts
    block = 12 * vit.dim**2 * tokens + 2 * tokens**2 * vit.dim
    last = 2 * vit.dim**2 * tokens + 10 * vit.dim**2 + 2 * tokens * vit.dim
    return 2.0 * 2.0 * ((vit.depth - 1) * block + last)


def matrix_rate(vit: FrozenViT) -> float:
    """Returns operations per second of a large matrix product in the blocks' precision, with all processors."""
    return product_rate(vit.device, DTYPES[vit.precision])


def product_rate(device: torch.device, dtype: torch.dtype, side: int | None = None) -> float:
    """Returns operations per second of a product of two square matrices with this many rows, with all processors."""
    use_threads(processors())
    side = side or MATRIX[device.type]
    generator = torch.Generator(device).manual_seed(0)  # a product of constants would draw less power on a GPU
    a = torch.rand(side, side, device=device, generator=generator).to(dtype)
    seconds = [_seconds(lambda: a @ a, device) for _ in range(6)]
    use_threads(1)
    return 2.0 * side**3 / median(seconds[1:])
