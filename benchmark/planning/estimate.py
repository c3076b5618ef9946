"""Estimates the cost of a run from a few training steps timed on this machine, without images or weights."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from fedprompt.benchmark.backbone.weights import RANDOM
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.hardware.memory import SavedActivations
from fedprompt.benchmark.planning import placeholder_data
from fedprompt.benchmark.planning.placeholder_data import BlankSamples
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.simulation import preparation
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.context import SimulationContext
from fedprompt.benchmark.simulation.evaluation.datastore import has_datastore
from fedprompt.benchmark.simulation.evaluation.scoring import score
from fedprompt.benchmark.simulation.local_training import collect_statistics, train_clients
from fedprompt.benchmark.simulation.optimisers import tensor_name
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate, LocalTraining
from fedprompt.methods.base import Phase

COUNTED_ROUNDS = 1_000  # whose cohorts are drawn for the traffic: a second
TIMED_STEPS = 3
TIMED_TOKENS = 512  # per timed step: two images for ViT-B/16, which take a second or two


@dataclass(frozen=True)
class Estimate:
    """Expected cost of one run on one worker.

    Attributes:
        seconds: duration of the run.
        upload_bytes, download_bytes: simulated traffic.
        setup_seconds: the frozen pass over all images, once per machine and data set.
        process_bytes: memory of each worker for data.
        shared_bytes: files that all workers map.
        notes: assumptions.
    """

    seconds: float
    upload_bytes: int
    download_bytes: int
    setup_seconds: float = 0.0
    process_bytes: int = 0
    shared_bytes: int = 0
    notes: tuple[str, ...] = ()


def estimate(config: RunConfig) -> Estimate:
    """Times one client's local training and an evaluation pass, and scales them to the whole run."""
    run, train, test, notes = _simulator(config)
    run.announce_reads()
    context, protocol = run.context, run.context.settings
    step = min(protocol.training.batch_size, max(2, TIMED_TOKENS // context.vit.tokens))
    images = step * (TIMED_STEPS if step == protocol.training.batch_size else 1)
    task = run.make_tasks(run.context.cohort(1)[:1], 1)[0]
    task = replace(task, rows=np.resize(task.rows, images))  # repeats a small client's rows: only their number matters
    training = replace(protocol.training, epochs=1, batch_size=step)
    (update,) = _train(context, replace(task, rows=task.rows[:1]), training)  # fills caches
    with SavedActivations(context.vit.model) as saved:
        train_seconds = _timed(partial(_train, context, task, training))
    upload, download = _traffic(run, task, update)
    return Estimate(
        seconds=_training_seconds(run, task, training, train_seconds)
        + _fine_tuning_seconds(run, task, training)
        + _evaluation_seconds(run, images),
        upload_bytes=upload,
        download_bytes=download,
        setup_seconds=sum(_setup_seconds(part, images) for part in (train, test)),
        process_bytes=train.process_bytes + test.process_bytes + saved.bytes * protocol.training.batch_size // step,
        shared_bytes=train.shared_bytes + test.shared_bytes,
        notes=notes,
    )


def _train(
    context: SimulationContext, task: ClientTask, training: LocalTraining, phases: Sequence[Phase] | None = None
) -> list[ClientUpdate]:
    return train_clients(context.recipe, context.vit, context.train, [task], training, phases)


def _training_seconds(run: Simulator, task: ClientTask, training: LocalTraining, task_seconds: float) -> float:
    """Seconds of local training and of the initial statistics, from those of one `task`."""
    context, seen = run.context, run.context.federation.seen
    clients, phases = context.federation.clients, context.method.phases()
    image_seconds = task_seconds / max(1, training.images(phases, len(task.rows)))
    visits = context.settings.rounds * len(run.context.cohort(1)) if context.trains else 0
    images = sum(context.settings.training.images(phases, len(clients[k].train)) for k in seen)
    seconds = visits / len(seen) * images * image_seconds
    if context.method.initial_statistics:
        collect_seconds = _timed(partial(collect_statistics, context.recipe, context.vit, context.train, [task]))
        seconds += sum(len(clients[k].train) for k in seen) * collect_seconds / len(task.rows)
    return seconds


def _evaluation_seconds(run: Simulator, images: int) -> float:
    """Seconds of all predictions, from a timed pass over up to `images` test images.

    After the last round, all clients are scored once more for their personalised score, and the training data of the
    sampled ones fit the temperature of the prior correction.
    """
    context, clients = run.context, run.context.federation.clients
    rows = np.arange(min(256, images, len(context.test.labels)))
    tasks = [replace(run.evaluator.tasks(run.state, context.federation.seen[:1])[0], rows=rows)]
    image_seconds = _timed(lambda: score(context.recipe, context.vit, context.test, tasks)) / len(rows)
    personal = bool(context.settings.personal_epochs)
    tests = (_evaluations(context) + personal) * sum(len(client.test) for client in clients)
    validations = _evaluations(context) * sum(len(client.validation) for client in clients)
    calibration = sum(len(clients[k].train) for k in context.sampled(context.settings.rounds))
    stored = sum(len(client.train) for client in clients) if has_datastore(context.method) else 0
    scored = tests + validations + calibration + (_evaluations(context) + personal) * stored
    return scored * image_seconds


def _fine_tuning_seconds(run: Simulator, task: ClientTask, training: LocalTraining) -> float:
    """Seconds of training before scores, in the whole run."""
    context, federation, seconds = run.context, run.context.federation, 0.0
    passes = run.evaluator.training(run.state)
    for phase in dict.fromkeys(phase for phase, _ in passes):
        one_epoch = replace(phase, epochs=1)
        task_seconds = _timed(partial(_train, context, task, training, (one_epoch,)))
        sizes = [len(federation.clients[k].train) for other, tuned in passes if other == phase for k in tuned]
        images = sum(context.settings.training.images([phase], size) for size in sizes)
        seconds += images * task_seconds / max(1, training.images([one_epoch], len(task.rows)))
    return seconds


def _evaluations(context: SimulationContext) -> int:
    return len(context.settings.evaluated) if context.trains else 1


def _traffic(run: Simulator, task: ClientTask, update: ClientUpdate) -> tuple[int, int]:
    """Bytes up and down in the whole run, from the cohorts that it will sample and the classes of each client.

    Of a very long run, the first rounds stand for all.
    """
    context, state = run.context, task.state
    (statistics,) = collect_statistics(context.recipe, context.vit, context.train, [task])
    initial = context.federation.seen if context.method.initial_statistics else ()
    rounds = context.settings.rounds if context.trains else 0
    counted = min(rounds, COUNTED_ROUNDS)
    visits = [client for number in range(1, counted + 1) for client in run.context.cohort(number)]
    of_optimisers = {name: run.state.server[tensor_name(name)] for name in update.optimiser_upload}
    up = sum(run.sent_bytes({**state.shared, **of_optimisers, **update.reports}, k) for k in visits)
    up += sum(run.sent_bytes(statistics, k) for k in visits)
    down = sum(run.sent_bytes({**state.shared, **state.memory}, k) for k in visits)
    down += sum(run.sent_bytes(task.optimiser_received, k) for k in visits)
    if rounds > counted:
        up, down = (total * rounds // counted for total in (up, down))
    up += sum(run.sent_bytes(statistics, k) for k in initial)
    down += sum(run.sent_bytes({**state.shared, **state.memory}, k) for k in initial)
    prepared_up, prepared_down = _prepared_traffic(run, task)
    return up + prepared_up, down + prepared_down


def _prepared_traffic(run: Simulator, task: ClientTask) -> tuple[int, int]:
    """Bytes up and down before round 1, for standardised features and initial heads."""
    context, seen, up = run.context, run.context.federation.seen, 0
    for recipe in preparation.recipes(context, run.state).values():
        (sums,) = collect_statistics(recipe, context.vit, context.train, [task])
        rows, held = ClassRows(recipe.class_rows, context.vit.classes), (context.federation.counts[seen] > 0).sum(1)
        up += sum(rows.nbytes(sums, count) for count in held.tolist())
    return up, len(seen) * preparation.received_bytes(preparation.received(context, run.state))


def _simulator(config: RunConfig) -> tuple[Simulator, BlankSamples, BlankSamples, tuple[str, ...]]:
    """A run with blank images and random weights, which have the cost of real ones; its samples; and notes."""
    runner.ready(config)
    dataset, installed = placeholder_data.dataset(config)
    vit = runner.frozen_vit(config.model_copy(update={"checkpoint": RANDOM}), len(dataset.classes))
    clients = runner.federation_of(config, dataset)
    train, test = (BlankSamples(dataset, part, vit) for part in ("train", "test"))
    sizes = f"{len(dataset.train_y):,} training and {len(dataset.test_y):,} test images, {len(dataset.classes)} classes"
    notes = () if installed else (f"{config.dataset} is not installed; using its published size: {sizes}",)
    return runner.assemble(config, vit, train, test, clients), train, test, notes


def resident_mb() -> float:
    """Peak memory of this process in MB (10^6 bytes): what a worker uses, without its data."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _setup_seconds(part: BlankSamples, images: int) -> float:
    """Seconds of the frozen pass over all cached rows, from a pass over `images` images."""
    rows = len(part) if part.own is None else len(part.own)
    return _timed(lambda: part.pass_once(images)) * rows / images / processors()


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
