import torch

from fedprompt.methods.optimisers.fedavgm import FedAvgM
from tests import toy


def test_two_rounds_by_hand():
    """beta 1/2, lr 2. Round 1: delta 1, v 1, w 10 - 2 = 8. Round 2: clients reach 5, delta 3, v 3.5, w 8 - 7 = 1."""
    server = FedAvgM(beta=0.5, lr=2.0)
    memory = server.memory({"w": torch.tensor([10.0, 0.0])})
    after, memory = server.server_step({"w": torch.tensor([10.0, 0.0])}, {"w": torch.tensor([9.0, 1.0])}, memory)
    assert after["w"].tolist() == [8.0, 2.0]
    after, memory = server.server_step(after, {"w": torch.tensor([5.0, 2.0])}, memory)
    assert after["w"].tolist() == [1.0, 3.0]
    assert memory["w"].tolist() == [3.5, -0.5]


def test_momentum_starts_at_zero_for_every_shared_tensor():
    memory = FedAvgM(beta=0.9, lr=1.0).memory({"a": torch.ones(2, 3), "b": torch.ones(())})
    assert {key: (value.shape, float(value.sum())) for key, value in memory.items()} == {"a": ((2, 3), 0), "b": ((), 0)}


def test_the_first_round_is_plain_averaging_and_stores_its_update_as_momentum():
    simulator = toy.simulator("head+fedavgm", rounds=1)
    start = simulator.state.server["head.weight"].clone()
    simulator.run()
    plain = toy.ran("head", rounds=1)
    torch.testing.assert_close(simulator.state.server["head.weight"], plain.state.server["head.weight"])
    torch.testing.assert_close(
        simulator.state.optimiser_memory[0]["head.weight"], start - plain.state.server["head.weight"]
    )


def test_momentum_changes_the_second_round():
    plain, momentum = (toy.simulator(name, rounds=2) for name in ("head", "head+fedavgm"))
    plain.run()
    momentum.run()
    assert not torch.allclose(plain.state.server["head.weight"], momentum.state.server["head.weight"], atol=1e-3)
