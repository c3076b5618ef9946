"""Compares the local optimisers with `torch.optim`, for one client and for several in one pass."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.local_optimiser import Adam, AdamW, Sgd
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.methods import Method, Phase
from fedprompt.methods.errors import MethodError
from tests import toy
from tests.benchmark.simulation.test_local_training import (
    BOTH,
    STAGES,
    TRAINING,
    ClassBias,
    Linear,
    Staged,
    assert_close,
    reference,
    task,
    train,
)

FIELDS = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-4}
TORCH = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
BY_NAME = pytest.mark.parametrize("name", TORCH)


def options(name, **given):
    return replace(TRAINING, **{"optimizer": name, **FIELDS, **given})


def torch_optimizer(name):
    return partial(TORCH[name], betas=(FIELDS["beta1"], FIELDS["beta2"]), eps=FIELDS["eps"])


@BY_NAME
def test_one_client_trains_like_torch(name):
    """With weight decay on the weight and none on the shift, over batches of 4, 4 and 2."""
    (update,) = train(Linear(), task(0, range(10)), training=options(name))
    assert_close(update, *reference(task(0, range(10)), BOTH, optimizer=torch_optimizer(name)))


def test_the_defaults_are_those_of_torch():
    (update,) = train(Linear(), task(0, range(10)), training=replace(TRAINING, optimizer="adam"))
    assert_close(update, *reference(task(0, range(10)), BOTH, optimizer=torch.optim.Adam))


def test_the_weight_decay_of_adam_and_adamw_differs():
    (one,), (other,) = (train(Linear(), task(0, range(10)), training=options(name)) for name in TORCH)
    assert not torch.allclose(one.shared["weight"], other.shared["weight"], atol=1e-3)


@BY_NAME
def test_clients_in_one_pass_train_as_each_does_alone(name):
    """A client that has finished no longer changes, neither by its moments nor by weight decay."""
    clients = [task(0, range(3)), task(1, range(5, 30)), task(2, range(40, 45))]
    updates = train(Linear(), *clients, training=options(name))
    for update, client in zip(updates, clients, strict=True):
        assert_close(update, *reference(client, BOTH, optimizer=torch_optimizer(name)))


@BY_NAME
def test_every_phase_starts_with_new_moments_and_its_own_learning_rate(name):
    (update,) = train(Staged(), task(0, range(10)), training=options(name))
    assert_close(update, *reference(task(0, range(10)), *STAGES, optimizer=torch_optimizer(name)))


@BY_NAME
def test_gradients_are_clipped_per_client_before_the_moments(name):
    clients = [task(0, range(9)), task(1, range(20, 26))]
    updates = train(Linear(), *clients, training=options(name, clip_norm=0.05))
    for update, client in zip(updates, clients, strict=True):
        assert_close(update, reference(client, BOTH, clip=0.05, optimizer=torch_optimizer(name))[0])


@BY_NAME
def test_rows_of_a_clients_own_classes_train_as_in_a_full_table(name):
    clients = [task(0, toy.rows_of(1, 3)), task(1, toy.rows_of(0, 1, 2))]
    for client in clients:
        client.state.shared["bias"] = torch.tensor([0.5, -0.5, 1.0, 2.0])
    updates = train(ClassBias(), *clients, training=options(name, weight_decay=0.0))
    for update, client in zip(updates, clients, strict=True):
        full, _ = reference(client, (("weight", "shift", "bias"), 2, 0.1), decay=0.0, optimizer=torch_optimizer(name))
        assert_close(update, full)
        own = full["bias"][np.flatnonzero(client.counts)]
        torch.testing.assert_close(update.shared["bias"], own, rtol=1e-4, atol=1e-5)
        assert update.shared["bias"].isfinite().all()


@BY_NAME
def test_a_row_without_a_gradient_moves_by_its_first_moment_as_in_torch(name):
    """Row 0 has a gradient in the first step only, row 1 never."""
    gradients = [torch.tensor([[1.0, -2.0], [0.0, 0.0]]), *[torch.zeros(2, 2)] * 3]
    start = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    own = {"rows": start.clone()[None]}
    optimiser = {"adam": Adam, "adamw": AdamW}[name](own, ["rows"], Method(), Phase(), options(name, weight_decay=0.0))
    value = start.clone().requires_grad_()
    expected, path = torch_optimizer(name)([value], TRAINING.lr, weight_decay=0.0), []
    for gradient in gradients:
        value.grad = gradient.clone()
        expected.step()
        optimiser.step({"rows": gradient[None]}, 1)
        torch.testing.assert_close(own["rows"][0], value, rtol=1e-5, atol=1e-6)
        path.append(value.detach().clone())
    assert (path[1][0] != path[0][0]).all()
    assert torch.equal(path[-1][1], start[1])


def test_sgd_computes_the_bits_of_torch():
    rng = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(5, 3, generator=rng), torch.randn(4, 5, 3, generator=rng)
    own, value = {"w": start.clone()[None]}, start.clone().requires_grad_()
    optimiser = Sgd(own, ["w"], Method(), Phase(), TRAINING)
    expected = torch.optim.SGD([value], TRAINING.lr, TRAINING.momentum, weight_decay=TRAINING.weight_decay)
    for gradient in gradients:
        value.grad = gradient.clone()
        expected.step()
        optimiser.step({"w": gradient[None]}, 1)
        assert torch.equal(own["w"][0], value)


@pytest.mark.parametrize(
    ("phase", "rate"), [(Phase(max_lr=1.0), 0.1), (Phase(max_lr=0.03), 0.03), (Phase(lr=2.0, max_lr=0.5), 0.5)]
)
def test_a_phase_lowers_a_larger_learning_rate_to_its_maximum(phase, rate):
    own, value = {"w": torch.ones(1, 3)}, torch.full((3,), 2.0)
    training = LocalTraining(epochs=1, batch_size=2, lr=0.1, lr_factor=0.5)
    Sgd(own, ["w"], Method(), phase, training).step({"w": value[None]}, 1)
    assert torch.allclose(own["w"], torch.ones(1, 3) - 0.5 * rate * value)


@pytest.mark.parametrize(
    ("kind", "method", "optimizer"),
    [
        *(("fused", method, "adam") for method in ("pep-fedpt", "pfpt", "sgpt", "fedvpt+feddyn+fedprox", "apfl")),
        *((kind, "fedl2p", "adamw") for kind in ("fused", "threaded")),
    ],
)
def test_every_execution_kind_gives_the_same_updates(kind, method, optimizer):
    training = replace(toy.TRAINING, optimizer=optimizer, lr=0.001)
    run = toy.simulator(method, of=toy.unequal(), rounds=1, training=training)
    tasks, context = run.make_tasks([0, 1, 2], 1), run.context
    ends = [
        Executor(executor, threads=2).train(context.recipe, context.vit, context.train, tasks, training)
        for executor in (kind, "sequential")
    ]
    for one, other in zip(*ends, strict=True):
        for name, value in {**one.shared, **one.local}.items():
            torch.testing.assert_close(value, {**other.shared, **other.local}[name], rtol=1e-3, atol=2e-4)


def test_a_simulation_of_scaffold_without_sgd_is_refused():
    with pytest.raises(MethodError, match=r"head\+scaffold: .*drop \+scaffold"):
        toy.simulator("head+scaffold", training=replace(toy.TRAINING, optimizer="adam"))
