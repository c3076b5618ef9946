"""fedbabu: heads are trained only before predictions."""

import numpy as np
import torch

from tests import toy

HEAD = ("head.weight", "head.bias")


def test_the_head_is_neither_trained_in_rounds_nor_communicated():
    simulator = toy.simulator("fedbabu", of=toy.unequal())
    start = {key: simulator.state.initial_local[key].clone() for key in HEAD}
    prompt = simulator.state.server["prompt"].clone()
    outcome = simulator.run()
    assert set(simulator.state.server.tensors) == {"prompt"}
    assert not torch.equal(simulator.state.server["prompt"], prompt)
    assert sorted(simulator.state.local) == [0, 1, 2]
    assert all(torch.equal(local[key], start[key]) for local in simulator.state.local.values() for key in HEAD)
    assert outcome.upload_bytes == outcome.download_bytes == 2 * 3 * 4 * 10 * 24


def test_a_client_predicts_with_its_fine_tuned_head_and_the_averaged_prompts():
    simulator = toy.ran("fedbabu", of=toy.unequal())
    plain = simulator.evaluator.tasks(simulator.state, np.array([0, 1]))
    tuned, _ = simulator.evaluator.tuned(plain, simulator.evaluator.fine_tuning())
    for subject in tuned:
        assert torch.equal(subject.state.tensors["prompt"], simulator.state.server["prompt"])
        assert not torch.equal(subject.state.tensors["head.weight"], simulator.state.initial_local["head.weight"])
    assert not torch.equal(tuned[0].state["head.weight"], tuned[1].state["head.weight"])


def test_fine_tuning_the_head_helps_a_client_of_two_classes():
    """Client 1 has only classes 0 and 1; the baseline is the fixed random head."""
    simulator = toy.simulator("fedbabu", of=toy.unequal())
    outcome = simulator.run()
    fixed = simulator.evaluator.score(simulator.state, np.array([1]), outcome).accuracy[0]
    assert outcome.clients[1]["accuracy"] > max(0.6, fixed)


def test_a_held_out_client_is_evaluated_with_the_fixed_head_and_personalised_after_fine_tuning():
    simulator = toy.simulator("fedbabu", of=toy.unequal())
    metrics = simulator.run().metrics
    (subject,) = simulator.evaluator.tasks(simulator.state, simulator.context.federation.held_out)
    assert all(torch.allclose(subject.state.tensors[key], simulator.state.initial_local[key]) for key in HEAD)
    assert metrics["held_out_personalised"]["mean"] > metrics["held_out"]["mean"]
