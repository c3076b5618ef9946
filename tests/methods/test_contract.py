"""Properties of every registered method, variant and optimiser; new ones are tested automatically.

To limit the time, variants are tested only where no rounds run, and every optimiser is combined with three methods.
Training-free methods have their own tests at the end.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.contract.uploads import of as listed_uploads
from fedprompt.benchmark.simulation import optimisers
from fedprompt.benchmark.simulation.evaluation.datastore import has_datastore
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.methods import LossPlugin, Method, registry, uploads
from tests import toy
from tests.methods.contract import (
    COHORT,
    METHODS,
    OPTIMISED,
    ROUNDS,
    SIZES,
    TRAINING,
    VARIANTS,
    WITH_OPTIMISER,
    averages,
    begun,
    close,
    copy,
    declared,
    learned,
    new,
    numbers,
    ran,
    received_bytes,
    same,
    trains,
    whole,
)

NEUTRAL = {
    "fedprox": {"mu": 0.0},
    "fedavgm": {"beta": 0.0, "lr": 1.0},
    "feddyn": {"alpha": 0.0},
    "la": {"tau": 0.0},
    "fedlc": {"tau": 0.0},
    "fedrs": {"alpha": 1.0},
}
"""Values with which an optimiser has no effect; SCAFFOLD, FedAdam and FedYogi have none."""
TRAINED = [name for name in METHODS if trains(name)]
every_name = pytest.mark.parametrize("name", [*METHODS, *VARIANTS, *WITH_OPTIMISER])
every_method = pytest.mark.parametrize("name", [*METHODS, *WITH_OPTIMISER])
every_name_that_trains = pytest.mark.parametrize(
    "name", [n for n in [*METHODS, *VARIANTS, *WITH_OPTIMISER] if trains(n)]
)
every_method_that_trains = pytest.mark.parametrize("name", [*TRAINED, *WITH_OPTIMISER])
every_training_free_method = pytest.mark.parametrize("name", [name for name in METHODS if name not in TRAINED])


@every_method
def test_a_run_does_not_change_the_backbone(name):
    run = ran(name)
    assert same(dict(run.simulator.context.vit.model.state_dict()), run.backbone)
    assert all(p.grad is None and not p.requires_grad for p in run.simulator.context.vit.model.parameters())


@every_name_that_trains
def test_every_declared_tensor_gets_a_gradient_in_each_of_its_rows(name):
    """Per row, because a deep prompt that enters only some layers has a gradient in some rows only.

    Tested after training on all classes, because zero tensors block gradients at first.
    """
    simulator = begun(name)
    counts = np.bincount(toy.dataset().train_y)
    (job,) = simulator.make_tasks([0], 3)
    after = learned(name, 3)[0]  # it has every class, so all rows are present
    job = replace(
        job, rows=np.arange(60), counts=counts, state=replace(job.state, shared=after.shared, local=after.local)
    )
    batch, state = toy.batch_of(simulator.context.method, [job])
    shared, local = declared(name)
    trained = [key for key in state if key in shared or key in local]
    state = {key: value.clone().requires_grad_(key in trained) for key, value in state.items()}
    reached = dict.fromkeys(trained, torch.tensor(False))
    for phase in simulator.context.method.phases():
        batch.phase = phase
        loss = batch.means(simulator.context.method.loss(simulator.context.vit, batch, state)).sum()
        names = [key for key in trained if phase.trains is None or key in phase.trains]
        for key, gradient in zip(names, torch.autograd.grad(loss, [state[key] for key in names]), strict=True):
            rows = gradient[0].reshape(gradient.shape[1] if gradient.dim() > 1 else 1, -1)
            reached[key] = reached[key] | rows.ne(0).any(1)
    assert sorted(trained) == sorted([*shared, *local])
    for key in in_rounds(simulator.context.method, {**shared, **local}):
        rows = reached[key]
        enough = rows.any() if key in simulator.context.method.selects else rows.all()
        assert enough, f"{key} has no gradient in rows {(~rows).nonzero().flatten().tolist()}"


@every_name_that_trains
def test_clients_trained_in_one_pass_end_as_clients_trained_one_by_one(name):
    """With a tolerance, because sums are computed in another order."""
    simulator, executor = begun(name), Executor("fused")
    arguments = (
        simulator.context.recipe,
        simulator.context.vit,
        simulator.context.train,
        simulator.make_tasks(COHORT, 3),
        TRAINING,
    )
    together, alone = executor.train(*arguments), learned(name, 3)
    assert executor.used == ("sequential" if simulator.context.recipe.not_fusible else "fused")
    assert bool(executor.notes) == bool(simulator.context.recipe.not_fusible)
    for one, other in zip(together, alone, strict=True):
        for part in ("shared", "local", "statistics", "notes", "optimiser_local", "optimiser_upload"):
            close(getattr(one, part), getattr(other, part), 1e-4)
        assert one.loss == pytest.approx(other.loss, abs=1e-5, rel=1e-4)
        assert one.classes.tolist() == other.classes.tolist()
    for updates in (together, alone):
        assert [update.client for update in updates] == COHORT
        assert [update.samples for update in updates] == SIZES.tolist()
    images = [TRAINING.images(simulator.context.method.phases(), size) for size in SIZES.tolist()]
    assert [update.images for update in together] == [update.images for update in alone] == images


@every_name
def test_logits_of_many_clients_are_those_of_each(name):
    simulator = begun(name)
    if simulator.context.recipe.not_fusible:
        pytest.skip(f"clients cannot train in one pass: {simulator.context.recipe.not_fusible}")
    jobs = simulator.make_tasks(COHORT, 3)
    together = simulator.context.method.logits(
        simulator.context.vit, *toy.batch_of(simulator.context.method, jobs, width=12)
    ).view(3, 12, -1)
    for k, job in enumerate(jobs):
        alone = simulator.context.method.logits(
            simulator.context.vit, *toy.batch_of(simulator.context.method, [job], width=12)
        )
        torch.testing.assert_close(together[k, : len(alone)], alone, atol=1e-5, rtol=1e-4)


@every_method_that_trains
def test_a_sampled_client_starts_from_the_current_global_state_and_its_own_tensors(name):
    run = ran(name)
    shared, local = declared(name)
    for job in run.simulator.make_tasks(COHORT, ROUNDS + 1):
        assert job.state.shared.keys() == shared.keys()
        received = run.simulator.state.received(job.client)
        assert same({**job.state.shared, **job.state.memory}, received)
        assert same(job.state.local, {key: run.simulator.state.local[job.client][key] for key in local})
        for key, value in {**job.state.shared, **job.state.local}.items():
            if key in in_rounds(run.simulator.context.method, {**shared, **local}):
                assert not torch.equal(value, run.initial[key]), f"{key} is still the initial one"


@every_method_that_trains
def test_local_tensors_never_travel_and_every_byte_that_does_is_counted(name):
    simulator = begun(name)
    shared, local = declared(name)
    jobs, updates = simulator.make_tasks(COHORT, 1), learned(name, 1)
    upload, download = 0, sum(received_bytes(name, job) for job in jobs)
    for job, update in zip(jobs, updates, strict=True):
        assert update.shared.keys() == shared.keys()
        assert update.local.keys() == local.keys()
        assert not {**update.shared, **update.statistics, **job.state.memory}.keys() & local.keys()
        parts = (update.shared, update.statistics, update.reports, update.optimiser_upload)
        sent = [v for part in parts for v in part.values()]
        upload += sum(v.numpy().nbytes for v in sent)
    named = ran(name).outcome.travelling
    assert named["download"].keys() >= {
        key for job in jobs for key in {**job.state.shared, **job.state.memory, **job.optimiser_received}
    }
    assert named["upload"].keys() >= {key for update in updates for key in {**update.shared, **update.optimiser_upload}}
    assert not (named["upload"].keys() | named["download"].keys()) & local.keys()
    rows, final = ran(name).outcome.rounds, ran(name).simulator.state.server
    if any(final[key].shape != value.shape for key, value in shared.items()):
        rows = rows[:2]  # the server changed the number of prompts, so later rounds have other sizes
    assert [row["upload_bytes"] - rows[0]["upload_bytes"] for row in rows] == [0, upload, 2 * upload][: len(rows)]
    assert [row["download_bytes"] - rows[0]["download_bytes"] for row in rows] == [0, download, 2 * download][
        : len(rows)
    ]


@every_method
def test_every_tensor_that_leaves_a_client_has_the_kind_that_is_listed(name):
    """A statistic or report whose name does not say what it is needs an entry in `upload_kinds`."""
    recipe, outcome = ran(name).simulator.context.recipe, ran(name).outcome
    sent, shared = outcome.travelling["upload"], outcome.trainable["shared"]
    found = uploads.kinds(sent, shared, recipe.class_rows, recipe.method.upload_kinds)
    assert uploads.UNDECLARED not in found, "declare it in upload_kinds"
    assert found == listed_uploads(name)


@every_name_that_trains
def test_per_class_tensors_are_declared_and_match_the_clients_classes(name):
    """The three clients have 4, 2 and 3 classes. Tensors of these sizes must be declared in `class_rows`."""
    simulator = begun(name)
    shared, local = declared(name)
    rows = simulator.context.method.class_rows
    assert not set(rows) & local.keys(), "local tensors always have all rows"
    for update in learned(name, 3):
        held = len(update.classes)
        for key, value in {**update.shared, **update.statistics}.items():
            full = shared[key].shape if key in shared else None
            if key in rows:
                assert len(value) == held, key
                assert full is None or (full[0], *value.shape[1:]) == (toy.CLASSES, *full[1:]), key
            elif full is not None:
                assert value.shape == full, key
    statistics = [update.statistics for update in learned(name, 3)]
    for key in statistics[0].keys() - set(rows):
        assert len({sent[key].shape for sent in statistics}) == 1, f"{key} depends on the client's classes: declare it"


@every_name
def test_parameter_counts_follow_from_the_declared_tensors(name):
    shared, local = declared(name)
    expected = {"shared": sum(v.numel() for v in shared.values()), "local": sum(v.numel() for v in local.values())}
    assert begun(name).outcome.parameters == expected


@pytest.mark.parametrize("name", [n for n in [*TRAINED, *WITH_OPTIMISER] if declared(n)[0] and averages(n)])
def test_the_server_averages_by_sample_counts(name):
    once = new(name, rounds=1)
    once.run()
    jobs, updates = begun(name).make_tasks(COHORT, 1), learned(name, 1)
    for key in declared(name)[0]:
        ends = [whole(name, key, update.shared[key], job) for update, job in zip(updates, jobs, strict=True)]
        mean = sum(n / 46 * end for n, end in zip(SIZES, ends, strict=True))
        np.testing.assert_allclose(once.state.server[key].numpy(), mean, atol=1e-6)


@every_method
def test_results_do_not_depend_on_the_number_of_threads(name):
    """Threads also share the caches of fresh samples."""
    shared = new(name, threads=3)
    context, fresh = shared.context, Samples(toy.dataset().train_x, toy.dataset().train_y, toy.vit())
    data = fresh, context.test, context.federation
    simulator = Simulator(context.recipe, context.vit, *data, context.streams, context.settings, shared.executor)
    outcome = simulator.run()
    assert same(simulator.state.server.tensors, ran(name).simulator.state.server.tensors)
    for kept in ("local", "optimiser_local"):
        one, other = getattr(simulator.state, kept), getattr(ran(name).simulator.state, kept)
        assert one.keys() == other.keys()
        assert all(same(one[k], other[k]) for k in one)
    assert all(map(same, simulator.state.optimiser_memory, ran(name).simulator.state.optimiser_memory))
    assert numbers(outcome) == numbers(ran(name).outcome)


@every_method_that_trains
def test_another_seed_gives_another_run(name):
    other = new(name, rounds=1, seed=1).run()
    assert ran(name).outcome.rounds[1]["train_loss"] != other.rounds[1]["train_loss"]


@every_name_that_trains
def test_training_does_not_modify_its_inputs(name):
    simulator = begun(name)
    jobs = simulator.make_tasks(COHORT, 3)
    held = [
        state
        for job in jobs
        for state in (job.state.shared, job.state.memory, job.state.local, job.optimiser_received, job.optimiser_local)
    ]
    before = [copy(state) for state in [*held, simulator.state.server.tensors]]
    generators = [job.rng.bit_generator.state for job in jobs]
    toy.train(simulator, jobs[:1], TRAINING)
    if not simulator.context.recipe.not_fusible:
        toy.train(simulator, jobs[1:], TRAINING)
    assert all(map(same, [*held, simulator.state.server.tensors], before))
    assert [job.rng.bit_generator.state for job in jobs] == generators


@every_name
def test_predictions_do_not_read_the_labels(name):
    simulator = begun(name)
    jobs = simulator.make_tasks(COHORT[:1] if simulator.context.recipe.not_fusible else COHORT, 3)
    batch, state = toy.batch_of(simulator.context.method, jobs)
    plain = simulator.context.method.logits(simulator.context.vit, batch, state)
    batch.labels = (batch.labels + 1) % toy.CLASSES
    assert torch.equal(simulator.context.method.logits(simulator.context.vit, batch, state), plain) == (
        "oracle" not in name
    )


def in_rounds(method, tensors):
    """The tensors that the phases of a round train; others change only in fine-tuning."""
    return {name for phase in method.phases() for name in (tensors if phase.trains is None else phase.trains)}


@every_method_that_trains
def test_a_method_learns(name):
    rows = ran(name).outcome.rounds
    method = ran(name).simulator.context.method
    before_training = method.fine_tuning or has_datastore(
        method
    )  # then even the initial model uses the client's samples
    least = 0.6 if before_training else np.nanmax([rows[0]["seen_mean"], 0.6])  # `local` has no score before
    assert rows[-1]["seen_mean"] > least  # each client has 2, 3 or 4 of four classes
    assert rows[-1]["train_loss"] < rows[1]["train_loss"]


@every_method
def test_a_held_out_client_predicts_without_having_trained(name):
    run = ran(name)
    shared, local = declared(name)
    (subject,) = run.simulator.evaluator.tasks(run.simulator.state, run.simulator.context.federation.held_out)
    assert run.simulator.state.rounds_trained[subject.client] == 0
    assert run.simulator.context.method.held_out == (run.outcome.metrics["held_out"] is not None)
    for key in local if type(run.simulator.context.method).held_out_local is Method.held_out_local else ():
        mean = torch.stack([run.simulator.state.local[k][key] for k in COHORT]).mean(0)
        np.testing.assert_allclose(subject.state.tensors[key], mean, atol=1e-6, rtol=1e-6)
    state = run.simulator.state
    evaluated = optimisers.evaluated(run.simulator.context.recipe, state.server.shared, state.optimiser_memory)
    assert same({key: subject.state.tensors[key] for key in shared}, {key: evaluated[key] for key in shared})


@every_training_free_method
def test_a_training_free_method_uploads_statistics_once_and_then_does_not_change(name):
    run = ran(name)
    shared, local = declared(name)
    assert not shared
    assert not local
    (start, *rounds), begin = run.outcome.rounds, begun(name)
    assert len(rounds) == ROUNDS
    assert start["download_bytes"] == sum(received_bytes(name, job) for job in new(name).make_tasks(COHORT, 0))
    steady = {k for k in start if k not in ("round", "seconds", "train_loss") and not k.startswith("trained_")}
    for row in rounds:
        assert not {k for k in steady if row[k] != start[k]}
        assert np.isnan(row["train_loss"])
    assert same(run.simulator.state.server.tensors, begin.state.server.tensors)
    assert sum(run.outcome.images.values()) == run.outcome.never_trained == 0
    assert not run.simulator.state.rounds_trained.any()
    assert run.simulator.executor.used.startswith("none")


@every_training_free_method
def test_a_training_free_method_predicts_from_the_start(name):
    assert ran(name).outcome.rounds[0]["seen_mean"] > (0.3 if name == "majority" else 0.6)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_without_shared_tensors_declares_it_and_refuses_optimisers(name):
    assert registry.METHODS[name].shares == bool(declared(name)[0])
    if not declared(name)[0]:
        for optimiser in [name for name, cls in registry.OPTIMISERS.items() if not issubclass(cls, LossPlugin)]:
            with pytest.raises(registry.MethodError, match="no shared tensors that an optimiser could act on; drop"):
                new(f"{name}+{optimiser}")


@pytest.mark.parametrize("optimiser", sorted(NEUTRAL))
@pytest.mark.parametrize("name", OPTIMISED)
def test_a_neutral_optimiser_gives_exactly_the_method_without_it(name, optimiser):
    simulator = new(f"{name}+{optimiser}", settings={optimiser: NEUTRAL[optimiser]})
    outcome, parent = simulator.run(), ran(name)
    assert same(simulator.state.server.tensors, parent.simulator.state.server.tensors)
    assert all(same(simulator.state.local.get(k, {}), v) for k, v in parent.simulator.state.local.items())
    assert numbers(outcome) == numbers(parent.outcome)
