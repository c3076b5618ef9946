"""A first estimate of what a run costs, from a step or two timed on this machine; needs neither images nor weights."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from fedprompt.benchmark.backbone.memory_budget import SavedActivations
from fedprompt.benchmark.backbone.weights import RANDOM
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.planning import placeholder_data as stand_in
from fedprompt.benchmark.planning.placeholder_data import BlankSamples
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.simulation.datastore import remembers
from fedprompt.benchmark.simulation.local_training import (
    ClientTask,
    ClientUpdate,
    LocalTraining,
    collect,
    images_trained,
    learn,
)
from fedprompt.benchmark.simulation.optimiser_hooks import tensor_of
from fedprompt.benchmark.simulation.scoring import score
from fedprompt.benchmark.simulation.simulator import Simulator

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
    run.announce()
    protocol, seen = run.protocol, run.federation.seen
    step = min(protocol.training.batch_size, max(2, TIMED_TOKENS // run.vit.tokens))
    wanted = step * (TIMED_STEPS if step == protocol.training.batch_size else 1)
    job = run.jobs(run.cohort(1)[:1], 1)[0]
    job = replace(job, rows=np.resize(job.rows, wanted))  # repeats a small client's rows: only their number matters
    training = replace(protocol.training, epochs=1, batch_size=step)
    (first,) = learn(run.recipe, run.vit, run.train, [replace(job, rows=job.rows[:1])], training)  # fills caches
    with SavedActivations(run.vit) as kept:
        spent = _timed(lambda: learn(run.recipe, run.vit, run.train, [job], training))
    phases = run.method.phases()
    train_second = spent / max(1, images_trained(phases, wanted, training))
    rows = np.arange(min(256, wanted, len(run.test.labels)))
    subjects = [replace(run.subjects(seen[:1])[0], rows=rows)]
    eval_second = _timed(lambda: score(run.recipe, run.vit, run.test, subjects)) / len(rows)
    clients = run.federation.clients
    trained = sum(len(clients[k].train) for k in seen)  # images of all seen clients
    passed = sum(
        images_trained(phases, len(clients[k].train), protocol.training) for k in seen
    )  # in a round of all of them
    tested = sum(len(client.test) + len(client.validation) for client in clients)
    tested += sum(len(client.train) for client in clients) if remembers(run.method) else 0
    evaluations = len(protocol.evaluated) if run.trains else 1
    visitors = protocol.rounds * len(run.cohort(1)) if run.trains else 0
    seconds = visitors / len(seen) * passed * train_second + _tuning_seconds(run, job, training)
    upload, download = _traffic(run, job, first)
    if run.method.initial_statistics:
        seconds += trained * _timed(lambda: collect(run.method, run.vit, run.train, [job])) / wanted
    return Estimate(
        seconds=seconds + evaluations * tested * eval_second,
        upload_bytes=upload,
        download_bytes=download,
        first_seconds=sum(_once(part, wanted) for part in (train, test)),
        held_bytes=train.held + test.held + kept.bytes * protocol.training.batch_size // step,
        shared_bytes=train.shared + test.shared,
        notes=notes,
    )


def _tuning_seconds(run: Simulator, job: ClientTask, training: LocalTraining) -> float:
    """Seconds of the whole run that clients train before they are scored: the seen ones where the method fine-tunes,
    once more for their validation samples, and held-out ones for their score after adaptation."""
    clients, tuned, seconds = run.federation.clients, run.method.fine_tuning, 0.0
    evaluations = len(run.protocol.evaluated) if run.trains else 1
    turns = 1 + any(len(client.validation) for client in clients)
    due = [(tuned, run.federation.seen)] * (turns * evaluations)
    due += [(run.judge.adaptation(last), run.federation.held_out) for last in [False] * (evaluations - 1) + [True]]
    for phase in dict.fromkeys(phase for phase, _ in due if phase is not None):
        once = replace(phase, epochs=1)
        spent = _timed(partial(learn, run.recipe, run.vit, run.train, [job], training, (once,)))
        passed = sum(
            images_trained([phase], len(clients[k].train), run.protocol.training)
            for p, who in due
            if p == phase
            for k in who
        )
        seconds += passed * spent / max(1, images_trained([once], len(job.rows), training))
    return seconds


def _traffic(run: Simulator, job: ClientTask, update: ClientUpdate) -> tuple[int, int]:
    """Bytes up and down of the whole run: of the clients that it will sample, by the classes that each holds."""
    (statistics,) = collect(run.method, run.vit, run.train, [job])
    first = run.federation.seen if run.method.initial_statistics else ()
    rounds = range(1, run.protocol.rounds + 1) if run.trains else ()
    visitors = [client for number in rounds for client in run.cohort(number)]
    plugged = {name: run.server[tensor_of(name)] for name in update.beside}
    up = sum(run.travelling({**job.shared, **plugged, **update.reports}, k) for k in visitors)
    up += sum(run.travelling(statistics, k) for k in (*first, *visitors))
    down = sum(run.travelling({**job.shared, **job.memory}, k) for k in (*first, *visitors))
    return up, down + sum(run.travelling(job.sent, k) for k in visitors)


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
