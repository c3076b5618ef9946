import numpy as np
import torch

from fedprompt.benchmark.simulation.batch import Clients
from fedprompt.benchmark.simulation.class_rows import ClassRows

CLIENTS = Clients.of(np.array([[3, 0, 1], [0, 2, 0]]), torch.device("cpu"))  # classes 0 and 2; class 1
NONE, TABLE = ClassRows((), 3), ClassRows(("t",), 3)


def test_states_are_stacked_along_a_client_axis():
    states = [{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 4.0])}]
    assert NONE.gather(states, CLIENTS)["w"].tolist() == [[1, 2], [3, 4]]


def test_a_tensor_shared_by_all_clients_is_not_copied():
    shared = torch.ones(2, 3)
    stacked = NONE.gather([{"w": shared}, {"w": shared}], CLIENTS)["w"]
    assert stacked.shape == (2, 2, 3)
    assert stacked.untyped_storage().data_ptr() == shared.untyped_storage().data_ptr()


def test_gathering_selects_the_rows_of_each_clients_classes():
    table = torch.tensor([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]])
    for states in ([{"t": table}] * 2, [{"t": table}, {"t": table.clone()}]):
        stacked = TABLE.gather(states, CLIENTS)["t"]
        assert stacked[0].tolist() == [[0, 0.5], [2, 2.5]]
        assert stacked[1, 0].tolist() == [1, 1.5]  # padding may hold any value


def test_selecting_a_client_drops_the_padding():
    tables = [torch.arange(3.0), torch.arange(3.0) + 10]
    stacked = TABLE.gather([{"t": t, "w": t} for t in tables], CLIENTS)
    first, second = (TABLE.select(stacked, CLIENTS, k) for k in range(2))
    assert (first["t"].tolist(), first["w"].tolist()) == ([0, 2], [0, 1, 2])
    assert (second["t"].tolist(), second["w"].tolist()) == ([11], [10, 11, 12])


def test_scattering_fills_other_classes_with_zeros_or_with_the_base():
    own, classes = {"t": torch.tensor([5.0, 6.0]), "w": torch.tensor(7.0)}, torch.tensor([0, 2])
    assert {name: value.tolist() for name, value in TABLE.scatter(own, classes).items()} == {"t": [5, 0, 6], "w": 7}
    base = {"t": torch.tensor([1.0, 2.0, 3.0])}
    assert TABLE.scatter(own, classes, base)["t"].tolist() == [5, 2, 6]
    assert base["t"].tolist() == [1, 2, 3]


def test_adding_sums_class_rows_by_class_and_other_tensors_whole():
    total: dict[str, torch.Tensor] = {}
    for classes, rows in (([0, 2], [1.0, 2.0]), ([2], [10.0])):
        TABLE.add(total, {"t": torch.tensor(rows), "w": torch.tensor([1.0])}, torch.tensor(classes))
    assert {name: value.tolist() for name, value in total.items()} == {"t": [1, 0, 12], "w": [2]}


def test_bytes_count_a_clients_rows_and_shapes_report_all_classes():
    state = {"t": torch.zeros(3, 5), "w": torch.zeros(2, dtype=torch.float64)}
    assert NONE.nbytes(state, 2) == TABLE.nbytes(state) == 3 * 5 * 4 + 2 * 8
    assert TABLE.nbytes(state, 2) == 2 * 5 * 4 + 2 * 8
    assert TABLE.shapes({"t": torch.zeros(1, 5), "w": torch.zeros(2)}) == {"t": [3, 5], "w": [2]}
