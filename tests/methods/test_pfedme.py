"""pfedme: inner steps of theta, the outer step of w_i, and the server's update."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.methods import Phase
from fedprompt.methods.components.personal_model import GLOBAL, PERSONAL
from tests import toy
from tests.methods.contract import COHORT, SIZES, close, same

OUT = -1e4


def test_inner_and_outer_steps_by_hand():
    """Logits are biases (t, -t) of two classes, all labels the second: theta <- theta - lr (softmax + lambda (t - w)).

    Two batches of two steps each: the second pair is held near where the first left w_i.
    """
    settings = {"strength": 2.0, "inner_steps": 2, "eta": 0.25}
    simulator = toy.simulator("pfedme", of=toy.unequal(), settings={"pfedme": settings})
    (job,) = simulator.make_tasks([0], 1)
    head = torch.zeros(4, 24), torch.tensor([0.0, 0.0, OUT, OUT])
    shared = {**job.state.shared, "head.weight": head[0], "head.bias": head[1]}
    local = {**job.state.local, "personal.head.weight": head[0], "personal.head.bias": head[1]}
    job = replace(job, rows=toy.rows_of(1)[:4], state=replace(job.state, shared=shared, local=local))
    training = LocalTraining(epochs=1, batch_size=2, lr=0.1, momentum=0.0, weight_decay=0.0)
    phase = Phase(("personal.head.bias",), repeats=2)
    (update,) = toy.train(simulator, [job], training, (phase,))
    t = w = 0.0
    for _ in range(2):
        for _ in range(2):
            t -= 0.1 * (1 / (1 + exp(-2 * t)) + 2.0 * (t - w))
        w -= 0.25 * 2.0 * (w - t)
    assert update.local["personal.head.bias"][:2].tolist() == pytest.approx([t, -t], abs=1e-6)
    assert update.shared["head.bias"][:2].tolist() == pytest.approx([w, -w], abs=1e-6)
    assert update.images == 2 * 4
    assert torch.equal(job.state.shared["head.bias"], head[1]), "what the server sent was moved in place"


def test_every_tensor_of_w_moves_towards_theta_after_the_last_step_on_a_batch():
    settings = {"strength": 2.0, "eta": 0.25}
    simulator = toy.simulator("pfedme", of=toy.unequal(), settings={"pfedme": settings})
    (job,) = simulator.make_tasks([0], 1)
    training = replace(toy.TRAINING, epochs=1, batch_size=60)  # a single batch
    (update,) = toy.train(simulator, [job], training)
    for w, theta in zip(GLOBAL, PERSONAL, strict=True):
        torch.testing.assert_close(
            update.shared[w], (job.state.shared[w] + update.local[theta]) / 2, atol=1e-6, rtol=1e-6
        )


def test_with_strength_zero_and_one_inner_step_it_equals_local_exactly():
    """And nothing draws w_i anywhere; the server's mean of equal tensors rounds."""
    arguments = {"of": toy.unequal(), "participation": 2 / 3, "rounds": 3}
    pfedme = toy.simulator("pfedme", settings={"pfedme": {"strength": 0.0, "inner_steps": 1}}, **arguments)
    local, initial = toy.simulator("local", **arguments), dict(pfedme.state.server.tensors)
    one, other = pfedme.run(), local.run()
    for client, state in local.state.local.items():
        for name, own in zip(GLOBAL, PERSONAL, strict=True):
            assert torch.equal(pfedme.state.local[client][own], state[name])
    assert one.metrics["seen"] == other.metrics["seen"]
    for update, job in zip(toy.learned(pfedme, COHORT, 9), pfedme.make_tasks(COHORT, 9), strict=True):
        assert same(update.shared, job.state.shared)
    close(dict(pfedme.state.server.tensors), initial, 1e-6)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_beta_weights_the_clients_mean_in_the_server_update(beta):
    simulator = toy.simulator("pfedme", of=toy.unequal(), settings={"pfedme": {"beta": beta}}, rounds=1)
    updates, before = toy.learned(simulator, COHORT, 1), dict(simulator.state.server.tensors)
    simulator.run()
    for key in GLOBAL:
        mean = sum(n / 46 * update.shared[key] for n, update in zip(SIZES.tolist(), updates, strict=True))
        torch.testing.assert_close(simulator.state.server[key], before[key] + beta * (mean - before[key]))
    assert same(simulator.state.server.tensors, before) == (beta == 0)


def test_every_seen_client_takes_its_steps_from_the_final_w_before_it_is_scored():
    """Also one that no round has sampled, which starts from w; nothing of it reaches the server."""
    simulator = toy.simulator("pfedme", of=toy.unequal(), participation=1 / 3, rounds=1)
    simulator.run()
    state, evaluator, before = simulator.state, simulator.evaluator, dict(simulator.state.server.tensors)
    assert sorted(state.rounds_trained[:3].tolist()) == [0, 0, 1]
    phase = evaluator.fine_tuning()
    assert (phase.repeats, phase.epochs) == (5, 1)
    tasks = evaluator.tasks(state, np.array(COHORT))
    tuned, images = evaluator.tuned(tasks, phase)
    assert images == 5 * SIZES.sum()
    assert same(state.server.tensors, before)
    for task, own in zip(tasks, tuned, strict=True):
        for w, theta in zip(GLOBAL, PERSONAL, strict=True):
            assert torch.equal(task.state.shared[w], before[w]), "the final w"
            assert not torch.equal(own.state.local[theta], task.state.local[theta])
            if not state.rounds_trained[task.client]:
                assert torch.equal(task.state.local[theta], before[w])


@pytest.mark.parametrize(("lr", "moved_like"), [(0.05, 0.05), (0.2, 0.1)])
def test_the_learning_rate_of_theta_is_that_of_the_run_but_at_most_one_over_lambda(lr, moved_like):
    simulator = toy.simulator("pfedme", of=toy.unequal(), settings={"pfedme": {"strength": 10.0}})
    (job,) = simulator.make_tasks([0], 1)
    chosen, limited = (replace(toy.TRAINING, lr=rate) for rate in (lr, moved_like))
    (update,) = toy.train(simulator, [job], chosen)
    (expected,) = toy.train(simulator, [job], limited, (Phase(PERSONAL, repeats=5),))
    assert same(update.local, expected.local)
    assert not same(update.local, job.state.local)
