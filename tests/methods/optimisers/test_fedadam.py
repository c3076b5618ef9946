"""Adam by hand, b1 = b2 = 1/2, tau 1, rate 2: v starts at 1, the server at 0.

Round 1: delta 1, m 1/2, v (1 + 1) / 2 = 1, w 2 x 1/2 / (1 + 1) = 1/2. Round 2: delta 7, m (1/2 + 7) / 2 = 3.75,
v (1 + 49) / 2 = 25, w 1/2 + 2 x 3.75 / (5 + 1) = 1.75.
"""

import pytest
import torch

from fedprompt.methods.optimisers.fedadam import FedAdam
from tests import toy
from tests.methods.contract import COHORT, copy, same


def test_two_rounds_by_hand():
    server = FedAdam(lr=2.0, beta1=0.5, beta2=0.5, tau=1.0)
    start = {"w": torch.tensor([0.0])}
    after, memory = server.server_step(start, {"w": torch.tensor([1.0])}, server.memory(start))
    assert (after["w"].item(), memory["m.w"].item(), memory["v.w"].item()) == (0.5, 0.5, 1)
    after, memory = server.server_step(after, {"w": torch.tensor([7.5])}, memory)
    assert (after["w"].item(), memory["m.w"].item(), memory["v.w"].item()) == (1.75, 3.75, 25)


@pytest.mark.parametrize("plugin", ["fedadam", "fedyogi", "fedavgm"])
def test_clients_receive_the_result_of_the_server_step(plugin):
    """Not the average, which clients would receive if the server kept its step to itself."""
    run, plain = (toy.simulator(name, of=toy.unequal(), rounds=2) for name in (f"head+{plugin}", "head"))
    run.run()
    plain.run()
    for job in run.make_tasks(COHORT, 3):
        assert same(job.state.shared, {name: run.state.server[name] for name in run.state.server.shared})
        assert not any(torch.equal(value, plain.state.server[name]) for name, value in job.state.shared.items())


def test_the_server_step_starts_from_the_previous_model_and_uses_moments():
    run = toy.simulator("head+fedadam", rounds=1)
    before = copy(run.state.server.tensors)
    plain = toy.simulator("head", rounds=1)
    run.run()
    plain.run()
    for name, value in before.items():
        delta = plain.state.server[name] - value
        m, v = 0.1 * delta, 0.99 * 1e-6 + 0.01 * delta.square()
        torch.testing.assert_close(run.state.server[name], value + 0.1 * m / (v.sqrt() + 1e-3))


@pytest.mark.parametrize("plugin", ["fedadam", "fedyogi", "fedavgm"])
def test_the_head_may_have_its_own_learning_rate(plugin):
    settings = {plugin: {"head_lr": 0.0}}
    run, same_rate = (toy.simulator(f"fedvpt+{plugin}", rounds=1, settings=s) for s in (settings, None))
    before = copy(run.state.server.tensors)
    run.run()
    same_rate.run()
    moved = {name for name in before if not torch.equal(run.state.server[name], before[name])}
    if plugin == "fedavgm":  # computes w - lr v from the mean, with rounding
        moved = {name for name in before if not torch.allclose(run.state.server[name], before[name], atol=1e-6)}
    assert moved == {"prompt"}
    assert torch.equal(run.state.server["prompt"], same_rate.state.server["prompt"])


@pytest.mark.parametrize("optimiser", ["fedadam", "fedyogi", "fedavgm", "feddyn"])
def test_the_servers_memory_is_not_communicated(optimiser):
    plain, other = (toy.simulator(name, rounds=2).run() for name in ("head", f"head+{optimiser}"))
    assert (other.upload_bytes, other.download_bytes) == (plain.upload_bytes, plain.download_bytes)
    assert other.parameters == plain.parameters
