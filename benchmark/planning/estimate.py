"""A first estimate of what a run costs, from a step or two timed on this machine; needs neither images nor weights."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from fedprompt.benchmark.backbone.weights import RANDOM
from fedprompt.benchmark.config.options import RunConfig
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.hardware.memory import SavedActivations
from fedprompt.benchmark.planning import placeholder_data as stand_in
from fedprompt.benchmark.planning.placeholder_data import BlankSamples
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.simulation.datastore import has_datastore
from fedprompt.benchmark.simulation.local_training import collect_statistics, train_clients
from fedprompt.benchmark.simulation.optimisers import tensor_name
from fedprompt.benchmark.simulation.scoring import score
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate, LocalTraining

TIMED_STEPS = 3
TIMED_TOKENS = 512  # of a timed step: one of ViT-B/16 takes two images, which are a second or two


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of one run on one worker, the traffic it simulates, and what is beside the runs.

    `first_seconds` are spent once a machine and data set, by the frozen pass over all images where a method has one.
    `held_bytes` are a worker's own, `shared_bytes` in files that all workers map. `notes` say what was assumed.
    """

    seconds: float
    upload_bytes: int
    download_bytes: int
    first_seconds: float = 0.0
    held_bytes: int = 0
    shared_bytes: int = 0
    notes: tuple[str, ...] = ()


def estimate(config: RunConfig) -> Estimate:
    """Times a step of one client and a pass of the evaluation, and scales them to the whole run."""
    run, train, test, notes = _simulator(config)
    run.announce_reads()
    context, method, clients = run.context, run.context.method, run.context.federation.clients
    protocol, seen, phases = context.settings, context.federation.seen, method.phases()
    step = min(protocol.training.batch_size, max(2, TIMED_TOKENS // context.vit.tokens))
    wanted = step * (TIMED_STEPS if step == protocol.training.batch_size else 1)
    task = run.make_tasks(run.sample_cohort(1)[:1], 1)[0]
    task = replace(task, rows=np.resize(task.rows, wanted))  # repeats a small client's rows: only their number matters
    training = replace(protocol.training, epochs=1, batch_size=step)
    train_on = partial(train_clients, context.recipe, context.vit, context.train)
    (first,) = train_on([replace(task, rows=task.rows[:1])], training)  # fills caches
    with SavedActivations(context.vit.model) as saved:
        spent = _timed(lambda: train_on([task], training))
    train_second = spent / max(1, training.images(phases, wanted))
    rows = np.arange(min(256, wanted, len(context.test.labels)))
    scored = [replace(run.evaluator.tasks(run.state, seen[:1])[0], rows=rows)]
    eval_second = _timed(lambda: score(context.recipe, context.vit, context.test, scored)) / len(rows)
    trained = sum(len(clients[k].train) for k in seen)  # images of all seen clients
    images = sum(protocol.training.images(phases, len(clients[k].train)) for k in seen)  # in a round of all of them
    tested = sum(len(client.test) + len(client.validation) for client in clients)
    tested += sum(len(client.train) for client in clients) if has_datastore(method) else 0
    evaluations = len(protocol.evaluated) if context.trains else 1
    visits = protocol.rounds * len(run.sample_cohort(1)) if context.trains else 0
    seconds = visits / len(seen) * images * train_second + _tuning_seconds(run, task, training)
    upload, download = _traffic(run, task, first)
    if method.initial_statistics:
        collect = partial(collect_statistics, context.recipe, context.vit, context.train, [task])
        seconds += trained * _timed(collect) / wanted
    return Estimate(
        seconds=seconds + evaluations * tested * eval_second,
        upload_bytes=upload,
        download_bytes=download,
        first_seconds=sum(_once(part, wanted) for part in (train, test)),
        held_bytes=train.held + test.held + saved.bytes * protocol.training.batch_size // step,
        shared_bytes=train.shared + test.shared,
        notes=notes,
    )


def _tuning_seconds(run: Simulator, task: ClientTask, training: LocalTraining) -> float:
    """Seconds of the whole run in which clients train before they are scored.

    Seen clients do where the method fine-tunes, once more for their validation samples, and held-out clients for their
    score after adaptation.
    """
    context, clients, tuned, seconds = run.context, run.context.federation.clients, run.context.method.fine_tuning, 0.0
    evaluations = len(context.settings.evaluated) if context.trains else 1
    turns = 1 + any(len(client.validation) for client in clients)
    due = [(tuned, context.federation.seen)] * (turns * evaluations)
    for last in [False] * (evaluations - 1) + [True]:
        due.append((run.evaluator.adaptation(run.state, last), context.federation.held_out))
    for phase in dict.fromkeys(phase for phase, _ in due if phase is not None):
        once = replace(phase, epochs=1)
        train = partial(train_clients, context.recipe, context.vit, context.train, [task], training, (once,))
        sizes = [len(clients[k].train) for own, group in due if own == phase for k in group]
        images = sum(context.settings.training.images([phase], size) for size in sizes)
        seconds += images * _timed(train) / max(1, training.images([once], len(task.rows)))
    return seconds


def _traffic(run: Simulator, task: ClientTask, update: ClientUpdate) -> tuple[int, int]:
    """Bytes up and down of the whole run: of the clients that it will sample, by the number of classes of each."""
    context, state = run.context, task.state
    (statistics,) = collect_statistics(context.recipe, context.vit, context.train, [task])
    first = context.federation.seen if context.method.initial_statistics else ()
    rounds = range(1, context.settings.rounds + 1) if context.trains else ()
    sampled = [client for number in rounds for client in run.sample_cohort(number)]
    optimisers = {name: run.state.server[tensor_name(name)] for name in update.optimiser_upload}
    up = sum(run.sent_bytes({**state.shared, **optimisers, **update.reports}, k) for k in sampled)
    up += sum(run.sent_bytes(statistics, k) for k in (*first, *sampled))
    down = sum(run.sent_bytes({**state.shared, **state.memory}, k) for k in (*first, *sampled))
    return up, down + sum(run.sent_bytes(task.optimiser_received, k) for k in sampled)


def _simulator(config: RunConfig) -> tuple[Simulator, BlankSamples, BlankSamples, tuple[str, ...]]:
    """A run as `runner.simulator` makes it, but on blank images and random weights: its shapes are what costs."""
    runner.ready(config)
    dataset, present = stand_in.dataset(config)
    vit = runner.frozen_vit(config.model_copy(update={"checkpoint": RANDOM}), len(dataset.classes))
    clients = runner.federation_of(config, dataset)
    train, test = (BlankSamples(dataset, part, vit) for part in ("train", "test"))
    numbers = f"{len(dataset.train_y):,} training and {len(dataset.test_y):,} test images of {len(dataset.classes)}"
    notes = () if present else (f"{config.dataset} is not here: its published numbers stand in ({numbers} classes)",)
    return runner.assemble(config, vit, train, test, clients), train, test, notes


def resident_mb() -> float:
    """Peak memory of this process, which holds what a worker holds but the data, in 10^6 bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _once(part: BlankSamples, images: int) -> float:
    """Seconds of the frozen pass over a whole split, from one over so many images."""
    return _timed(lambda: part.pass_once(images)) * len(part.labels) / images / processors()


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
