"""A batch of many clients against explicit loops over samples."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedprompt.benchmark.simulation.batch import Batch, Clients, group_rows, priors

CLASSES, IMAGES, D, M = 3, 12, 4, 2
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0, 0, 1, 2, 1, 1])
SAMPLES = SimpleNamespace(labels=LABELS, vit=SimpleNamespace(device=torch.device("cpu")))
rows_of_a_client = st.lists(st.integers(0, IMAGES - 1), max_size=5)
ragged = st.lists(rows_of_a_client, min_size=1, max_size=4).filter(lambda clients: any(clients))


def batch(rows: list[list[int]]) -> Batch:
    counts = np.array([[sum(LABELS[row] == c for row in own) for c in range(CLASSES)] for own in rows])
    clients = Clients.of(counts, torch.device("cpu"))
    return Batch(SAMPLES, [np.array(own, np.int64) for own in rows], clients)  # type: ignore[arg-type]


def held_by(rows: list[int]) -> list[int]:
    """The classes that a client with these rows holds: all where it has none."""
    return sorted({int(LABELS[row]) for row in rows}) or list(range(CLASSES))


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def places(rows: list[list[int]]) -> list[tuple[int, int, int]]:
    """(position in the batch, client, row) of every real sample: clients lie one after the other, filled up."""
    width = max(map(len, rows))
    return [(k * width + j, k, row) for k, own in enumerate(rows) for j, row in enumerate(own)]


@given(ragged)
def test_every_client_takes_as_many_places_and_only_real_rows_count(rows: list[list[int]]) -> None:
    b = batch(rows)
    real = places(rows)
    assert b.rows.shape == b.labels.shape == b.mask.shape == (len(rows) * max(map(len, rows)),)
    assert b.mask.nonzero().flatten().tolist() == [i for i, _, _ in real]
    for i, _, row in real:
        assert b.rows[i] == row
        assert b.labels[i] == LABELS[row]


@given(ragged)
def test_each_sample_meets_its_own_clients_value(rows: list[list[int]]) -> None:
    b, value = batch(rows), draw(len(rows), M, D)
    owned = b.own(value)
    assert owned.shape == (len(b.rows), M, D)
    scalar = b.own(value[:, 0, 0])
    for i, k, _ in places(rows):
        assert torch.equal(owned[i], value[k])
        assert scalar[i] == value[k, 0, 0]


@given(ragged)
def test_matmul_and_linear_are_each_samples_own_clients(rows: list[list[int]]) -> None:
    b = batch(rows)
    x, value = draw(len(b.rows), D), draw(len(rows), D, M)
    weight, bias = draw(len(rows), CLASSES, D), draw(len(rows), CLASSES)
    product, logits = b.matmul(x, value), b.linear(x, weight, bias)
    for i, k, _ in places(rows):
        torch.testing.assert_close(product[i], x[i] @ value[k])
        torch.testing.assert_close(logits[i], weight[k] @ x[i] + bias[k])


@given(ragged)
def test_a_value_per_class_is_taken_at_the_classes_that_each_client_holds(rows: list[list[int]]) -> None:
    b, value = batch(rows), draw(len(rows), CLASSES).abs() + 1
    most = max(len(held_by(own)) for own in rows)
    expected = [[float(value[k, c]) for c in held_by(own)] for k, own in enumerate(rows)]
    assert b.held(value).tolist() == [own + [0.0] * (most - len(own)) for own in expected]
    for k, own in enumerate(rows):
        assert b.classes[k, : len(held_by(own))].tolist() == held_by(own)


@given(ragged)
def test_class_sums_add_up_real_rows_by_client_and_class_that_it_holds(rows: list[list[int]]) -> None:
    b = batch(rows)
    values = draw(len(b.rows), D)
    expected = torch.zeros(len(rows), max(len(held_by(own)) for own in rows), D)
    for i, k, row in places(rows):
        expected[k, held_by(rows[k]).index(int(LABELS[row]))] += values[i]
    torch.testing.assert_close(b.class_sums(values), expected)


def test_held_and_class_sums_by_hand() -> None:
    # LABELS 0, 1, 2, 2, 1, ...: the first client holds classes 1 and 2, the second 0 alone, filled up with one more.
    b = batch([[1, 2, 3], [5]])
    assert b.held(torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])).tolist() == [
        pytest.approx([0.2, 0.7]),
        pytest.approx([0.3, 0.0]),
    ]
    values = torch.tensor([1.0, 10.0, 100.0, 7.0, 50.0, 50.0]).unsqueeze(1)  # the second one's last two fill up
    assert b.class_sums(values).squeeze(2).tolist() == [[1, 110], [7, 0]]


def test_the_first_clients_know_what_they_knew_among_all() -> None:
    clients = Clients.of(np.array([[2, 1, 0], [0, 0, 5], [1, 1, 1]]), torch.device("cpu"))
    assert len(clients) == 3
    assert clients.first(3) is clients
    two = clients.first(2)
    assert len(two) == 2
    for part in ("counts", "prior", "classes", "valid"):
        assert torch.equal(getattr(two, part), getattr(clients, part)[:2])
    assert two.valid.tolist() == [[True, True, False], [True, False, False]]


def test_a_client_without_labels_has_a_uniform_prior_and_holds_every_class() -> None:
    assert priors(torch.tensor([[1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])).tolist() == [
        [0.25, 0.75, 0, 0],
        [0.25] * 4,
    ]
    clients = Clients.of(np.array([[0, 0, 0], [0, 4, 0]]), torch.device("cpu"))
    assert clients.classes[0].tolist() == [0, 1, 2]
    assert clients.valid.tolist() == [[True] * 3, [True, False, False]]


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 25))
def test_passes_hold_every_row_once_and_stay_within_the_limit(sizes: list[int], limit: int) -> None:
    ends = np.cumsum([0, *sizes])
    rows = [np.arange(ends[i], ends[i + 1]) for i in range(len(sizes))]
    found: list[list[int]] = [[] for _ in rows]
    for members, own in group_rows(rows, limit):
        assert len(members) * max(map(len, own)) <= limit
        for i, part in zip(members, own, strict=True):
            found[i] += part.tolist()
    assert [sorted(part) for part in found] == [own.tolist() for own in rows]


@given(ragged)
def test_means_are_over_real_rows_and_zero_without_any(rows: list[list[int]]) -> None:
    b = batch(rows)
    values = draw(len(b.rows)).masked_fill(~b.mask, torch.inf)  # what fills up may be anything
    found = b.means(values)
    for k, own in enumerate(rows):
        mine = [values[i].item() for i, client, _ in places(rows) if client == k]
        assert found[k].item() == np.float32(0) if not own else abs(found[k].item() - np.mean(mine)) < 1e-5


def test_gradients_reach_only_the_client_whose_sample_it_was() -> None:
    b, value = batch([[1, 2], [3]]), torch.ones(2, D, requires_grad=True)
    b.own(value)[0].sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [[1] * D, [0] * D]


def test_a_diagnostic_is_kept_without_its_gradient() -> None:
    b = batch([[0, 1]])
    b.log("entropy", torch.ones(2, requires_grad=True) * 2)
    assert b.notes["entropy"].tolist() == [2, 2]
    assert not b.notes["entropy"].requires_grad


def test_a_row_by_class_is_kept_without_its_gradient() -> None:
    b = batch([[0, 1]])
    b.log_by_class("weights", torch.ones(2, CLASSES, requires_grad=True) * 2)
    assert b.by_class["weights"].tolist() == [[2] * CLASSES] * 2
    assert not b.by_class["weights"].requires_grad
