"""Compares batches of several clients with explicit loops over samples."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedprompt.benchmark.simulation.batch import Batch, Clients, group_rows, priors

CLASSES, IMAGES, D, M = 3, 12, 4, 2
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0, 0, 1, 2, 1, 1])
CPU = torch.device("cpu")
SAMPLES = SimpleNamespace(labels=LABELS, vit=SimpleNamespace(device=CPU))
rows_of_a_client = st.lists(st.integers(0, IMAGES - 1), max_size=5)
rows_per_client = st.lists(rows_of_a_client, min_size=1, max_size=4).filter(any)


def make_batch(rows):
    counts = np.stack([np.bincount(LABELS[own].numpy(), minlength=CLASSES) for own in rows])
    return Batch(SAMPLES, [np.array(own, np.int64) for own in rows], Clients.of(counts, CPU))


def classes_of(rows):
    """The classes of a client with these rows; all classes if it has none."""
    return sorted({int(LABELS[row]) for row in rows}) or list(range(CLASSES))


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def positions(rows):
    """(position in the batch, client, row) of every sample. Clients follow one another, each padded to equal width."""
    width = max(map(len, rows))
    return [(k * width + j, k, row) for k, own in enumerate(rows) for j, row in enumerate(own)]


@given(rows_per_client)
def test_clients_are_padded_to_equal_width_and_the_mask_marks_samples(rows):
    batch, samples = make_batch(rows), positions(rows)
    assert batch.rows.shape == batch.labels.shape == batch.mask.shape == (len(rows) * max(map(len, rows)),)
    assert batch.mask.nonzero().flatten().tolist() == [i for i, _, _ in samples]
    for i, _, row in samples:
        assert batch.rows[i] == row
        assert batch.labels[i] == LABELS[row]


@given(rows_per_client)
def test_own_gives_each_sample_the_value_of_its_client(rows):
    batch, value = make_batch(rows), draw(len(rows), M, D)
    owned, scalar = batch.own(value), batch.own(value[:, 0, 0])
    assert owned.shape == (len(batch.rows), M, D)
    for i, k, _ in positions(rows):
        assert torch.equal(owned[i], value[k])
        assert scalar[i] == value[k, 0, 0]


@given(rows_per_client)
def test_matmul_and_linear_use_the_parameters_of_each_samples_client(rows):
    batch, clients = make_batch(rows), len(rows)
    x, value = draw(len(batch.rows), D), draw(clients, D, M)
    weight, bias = draw(clients, CLASSES, D), draw(clients, CLASSES)
    product, logits = batch.matmul(x, value), batch.linear(x, weight, bias)
    for i, k, _ in positions(rows):
        torch.testing.assert_close(product[i], x[i] @ value[k])
        torch.testing.assert_close(logits[i], weight[k] @ x[i] + bias[k])


@given(rows_per_client)
def test_held_selects_the_entries_of_each_clients_classes(rows):
    batch, value = make_batch(rows), draw(len(rows), CLASSES).abs() + 1
    classes = [classes_of(own) for own in rows]
    most = max(map(len, classes))
    expected = [value[k, own].tolist() + [0.0] * (most - len(own)) for k, own in enumerate(classes)]
    assert batch.held(value).tolist() == expected
    for k, own in enumerate(classes):
        assert batch.classes[k, : len(own)].tolist() == own


@given(rows_per_client)
def test_class_sums_add_up_samples_by_client_and_class(rows):
    batch, classes = make_batch(rows), [classes_of(own) for own in rows]
    values, expected = draw(len(batch.rows), D), torch.zeros(len(rows), max(map(len, classes)), D)
    for i, k, row in positions(rows):
        expected[k, classes[k].index(int(LABELS[row]))] += values[i]
    torch.testing.assert_close(batch.class_sums(values), expected)


def test_held_and_class_sums_match_values_computed_by_hand():
    # The first client has classes 1 and 2, the second only class 0; the second is padded.
    batch = make_batch([[1, 2, 3], [5]])
    held = batch.held(torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.4, 0.3]]))
    assert held.tolist() == [pytest.approx([0.2, 0.7]), pytest.approx([0.3, 0.0])]
    values = torch.tensor([1.0, 10.0, 100.0, 7.0, 50.0, 50.0]).unsqueeze(1)  # the last two are padding
    assert batch.class_sums(values).squeeze(2).tolist() == [[1, 110], [7, 0]]


def test_first_returns_the_same_information_about_fewer_clients():
    clients = Clients.of(np.array([[2, 1, 0], [0, 0, 5], [1, 1, 1]]), CPU)
    assert len(clients) == 3
    assert clients.first(3) is clients
    two = clients.first(2)
    assert len(two) == 2
    for part in ("counts", "prior", "classes", "valid"):
        assert torch.equal(getattr(two, part), getattr(clients, part)[:2])
    assert two.valid.tolist() == [[True, True, False], [True, False, False]]


def test_a_client_without_labels_has_a_uniform_prior_and_all_classes():
    assert priors(torch.tensor([[1.0, 3, 0, 0], [0, 0, 0, 0]])).tolist() == [[0.25, 0.75, 0, 0], [0.25] * 4]
    clients = Clients.of(np.array([[0, 0, 0], [0, 4, 0]]), CPU)
    assert clients.classes[0].tolist() == [0, 1, 2]
    assert clients.valid.tolist() == [[True] * 3, [True, False, False]]


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 25))
def test_passes_contain_every_row_once_and_respect_the_limit(sizes, limit):
    rows = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]) if sizes else []
    grouped: list[list[int]] = [[] for _ in rows]
    for members, parts in group_rows(rows, limit):
        assert len(members) * max(map(len, parts)) <= limit
        for i, part in zip(members, parts, strict=True):
            grouped[i] += part.tolist()
    assert [sorted(part) for part in grouped] == [own.tolist() for own in rows]


@given(rows_per_client)
def test_means_ignore_padding_and_are_zero_without_samples(rows):
    batch = make_batch(rows)
    values = draw(len(batch.rows)).masked_fill(~batch.mask, torch.inf)  # padding may hold any value
    for k, mean in enumerate(batch.means(values).tolist()):
        own = [values[i].item() for i, client, _ in positions(rows) if client == k]
        assert abs(mean - np.mean(own)) < 1e-5 if own else mean == 0


def test_gradients_reach_only_the_client_of_the_sample():
    batch, value = make_batch([[1, 2], [3]]), torch.ones(2, D, requires_grad=True)
    batch.own(value)[0].sum().backward()
    assert value.grad.tolist() == [[1] * D, [0] * D]


@pytest.mark.parametrize(
    ("log", "stored", "shape"), [("log", "notes", (2,)), ("log_by_class", "by_class", (2, CLASSES))]
)
def test_logged_values_are_stored_without_gradients(log, stored, shape):
    batch = make_batch([[0, 1]])
    getattr(batch, log)("entropy", torch.ones(shape, requires_grad=True) * 2)
    values = getattr(batch, stored)["entropy"]
    assert values.tolist() == torch.full(shape, 2.0).tolist()
    assert not values.requires_grad
