import numpy as np
import torch

from fedprompt.benchmark.simulation.batch import Clients
from fedprompt.benchmark.simulation.stacking import size, stack, unstack

CLIENTS = Clients.of(np.array([[3, 0, 1], [0, 2, 0]]), torch.device("cpu"))  # classes 0 and 2; class 1


def test_states_are_stacked_client_after_client() -> None:
    states = [{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 4.0])}]
    assert stack(states, CLIENTS)["w"].tolist() == [[1, 2], [3, 4]]


def test_a_tensor_that_all_share_is_not_copied() -> None:
    shared = torch.ones(2, 3)
    found = stack([{"w": shared}, {"w": shared}], CLIENTS)["w"]
    assert found.shape == (2, 2, 3)
    assert found.untyped_storage().data_ptr() == shared.untyped_storage().data_ptr()


def test_of_class_rows_each_client_gets_those_of_its_own_classes() -> None:
    table = torch.tensor([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]])
    for states in ([{"t": table}] * 2, [{"t": table}, {"t": table.clone()}]):
        found = stack(states, CLIENTS, ("t",))["t"]
        assert found[0].tolist() == [[0, 0.5], [2, 2.5]]
        assert found[1, 0].tolist() == [1, 1.5]  # what fills it up may be anything


def test_unstacking_gives_back_a_clients_own_rows_and_no_more() -> None:
    tables = [torch.arange(3.0), torch.arange(3.0) + 10]
    stacked = stack([{"t": t, "w": t} for t in tables], CLIENTS, ("t",))
    first, second = (unstack(stacked, CLIENTS, k, ("t",)) for k in range(2))
    assert (first["t"].tolist(), first["w"].tolist()) == ([0, 2], [0, 1, 2])
    assert (second["t"].tolist(), second["w"].tolist()) == ([11], [10, 11, 12])


def test_a_state_weighs_the_bytes_of_its_tensors() -> None:
    state = {"t": torch.zeros(3, 5), "w": torch.zeros(2, dtype=torch.float64)}
    assert size(state) == 3 * 5 * 4 + 2 * 8
    assert size(state, ("t",)) == 3 * 5 * 4 + 2 * 8
    assert size(state, ("t", "absent"), 2) == 2 * 5 * 4 + 2 * 8
