import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation import batch as batches
from fedprompt.benchmark.simulation.evaluation import scoring
from fedprompt.benchmark.simulation.evaluation.scoring import ScoringTask, joined, score, summary
from fedprompt.benchmark.simulation.tasks import ClientState
from fedprompt.methods import Method
from fedprompt.methods.registry import Recipe
from tests import toy

ONE_EACH = [1, 1, 1, 1]


class Fixed(Method):
    """The logits of every sample are its client's state."""

    def logits(self, vit, batch, state):
        batch.log("label", batch.labels)
        batch.log_by_class("table", batch.own(state["logits"]))
        return batch.own(state["logits"])


class Probe(Method):
    """A linear head on the frozen feature."""

    def logits(self, vit, batch, state):
        return batch.linear(vit.features(batch), state["weight"], state["bias"])


def task(client, rows, counts, logits):
    state = ClientState({"logits": torch.tensor(logits)}, {}, {})
    return ScoringTask(client, np.array(rows, np.int64), np.array(counts), state)


def scored(method, *tasks, threads=1, temperatures=(1.0,), smoothing=0.0):
    return score(Recipe("toy", method), toy.vit(), toy.test_samples(), tasks, threads, temperatures, smoothing)


def rows(*classes):
    """One test row per given class; the next row of a class if it is given again."""
    unused = {c: iter(toy.rows_of(c, part="test").tolist()) for c in set(classes)}
    return [next(unused[c]) for c in classes]


# Plain answer: class 2. Log prior: log 1/8, log 7/8, -inf, -inf, so the corrected 1 - 2.08 < 0 - 0.13 gives class 1.
CORRECTED = 0, rows(0, 1, 1, 2, 2, 2), [1, 7, 0, 0], [1.0, 0.0, 5.0, 0.0]


def test_plain_and_prior_corrected_accuracy_match_values_computed_by_hand():
    scores = scored(Fixed(), task(*CORRECTED))
    assert scores.total.tolist() == [6]
    assert scores.right.tolist() == [3]
    assert scores.right_prior.tolist() == [[2]]
    assert scores.accuracy.tolist() == [0.5]
    assert scores.accuracy_prior(0).tolist() == [pytest.approx(1 / 3)]


def test_the_temperature_divides_the_logits_before_the_log_prior_is_added():
    # At T = 1/4: 4 - 2.08 > 0 - 0.13 gives class 0. Class 2 stays excluded at any temperature.
    scores = scored(Fixed(), task(*CORRECTED), temperatures=(0.25, 1.0, 4.0))
    assert scores.right_prior.tolist() == [[1, 2, 2]]


def test_smoothing_gives_absent_classes_a_share():
    # Prior (1 + 1, 7 + 1, 1, 1) / 12: class 2 has 5 + log(1/12) = 2.5, class 1 log(8/12) = -0.4.
    assert scored(Fixed(), task(*CORRECTED), smoothing=1.0).right_prior.tolist() == [[3]]


def test_the_correction_adds_exactly_the_log_prior():
    gap = math.log(3)  # prior 3/4 against 1/4
    margins = (gap - 0.01, gap + 0.01)
    tasks = [task(k, rows(0, 1, 1), [3, 1, 0, 0], [0.0, margin, 0.0, 0.0]) for k, margin in enumerate(margins)]
    assert scored(Fixed(), *tasks).right_prior.tolist() == [[1], [2]]


def test_without_known_labels_the_correction_changes_nothing():
    scores = scored(Fixed(), task(0, rows(2, 2, 1), [0, 0, 0, 0], [0.0, 1.0, 5.0, 0.0]))
    assert scores.right.tolist() == scores.right_prior[:, 0].tolist() == [2]


def test_a_client_without_test_samples_has_no_accuracy():
    scores = scored(Fixed(), *(task(k, rows(0)[:k], [1, 0, 0, 0], [float(k), 0, 0, 0]) for k in (0, 1)))
    assert scores.total.tolist() == [0, 1]
    assert math.isnan(scores.accuracy[0])
    assert scores.accuracy[1] == 1


def test_diagnostics_are_summed_over_the_rows_of_each_client():
    tasks = [task(k, own, ONE_EACH, [0.0] * 4) for k, own in enumerate((rows(3, 2, 1), rows(1)))]
    assert scored(Fixed(), *tasks).notes["label"].tolist() == [6, 1]


def test_rows_by_class_are_means_over_the_samples_of_each_true_class():
    first = task(0, rows(0, 0, 2), ONE_EACH, [0.5, 0, 0, 0.25])
    second = task(1, rows(0), ONE_EACH, [0.0, 1, 0, 0])  # shorter, so it is padded
    none = [None] * 4
    table = scored(Fixed(), first, second).means_by_class()["table"]
    assert table == [[0.3333, 0.3333, 0, 0.1667], none, [0.5, 0, 0, 0.25], none]


def test_rows_by_class_exclude_held_out_clients():
    seen = task(0, rows(0), ONE_EACH, [1.0, 0, 0, 0])
    held_out = replace(task(1, rows(0, 1), ONE_EACH, [0.0, 1, 0, 0]), held_out=True)
    assert scored(Fixed(), seen, held_out).means_by_class()["table"] == [[1, 0, 0, 0], *[[None] * 4] * 3]


def test_rows_by_class_of_several_groups_are_combined():
    parts = [scored(Fixed(), task(k, rows(k), ONE_EACH, [k + 1.0, 0, 0, 0])) for k in (0, 1)]
    assert joined(parts).means_by_class()["table"][:2] == [[1, 0, 0, 0], [2, 0, 0, 0]]


def test_rows_by_class_are_omitted_when_there_are_too_many_classes(monkeypatch):
    one = task(0, rows(0), ONE_EACH, [1.0, 0, 0, 0])
    monkeypatch.setattr(scoring, "MOST_CLASSES", 4)
    assert scored(Fixed(), one).means_by_class()
    monkeypatch.setattr(scoring, "MOST_CLASSES", 3)
    assert scored(Fixed(), one).means_by_class() == {}


def test_the_number_of_threads_changes_no_bit_of_the_rows_by_class(monkeypatch):
    monkeypatch.setattr(batches, "TOKENS_PER_PASS", {"cpu": 0})  # many passes
    rng = np.random.default_rng(0)
    tasks = [task(k, rng.permutation(30)[: 3 * k].tolist(), ONE_EACH, rng.random(4).tolist()) for k in range(9)]
    one, many = (scored(Fixed(), *tasks, threads=threads).by_class["table"] for threads in (1, 4))
    assert one.tobytes() == many.tobytes()


@pytest.mark.parametrize("tokens", [0, 17 * 20, 10**6])  # 16, 20 and all samples per pass
def test_the_size_of_a_pass_changes_no_score(tokens, monkeypatch):
    monkeypatch.setattr(batches, "TOKENS_PER_PASS", {"cpu": tokens})
    rng, samples, sizes = np.random.default_rng(0), toy.test_samples(), [30, 0, 1, 17, 5, 16, 30, 2]
    weights = [torch.randn(4, toy.vit().dim, generator=torch.Generator().manual_seed(k)) for k in range(len(sizes))]
    states = [ClientState({"weight": weight, "bias": torch.zeros(4)}, {}, {}) for weight in weights]
    tasks = [
        ScoringTask(k, rng.permutation(30)[:size], rng.integers(1, 9, 4), states[k]) for k, size in enumerate(sizes)
    ]
    scores = scored(Probe(), *tasks)
    for k, one in enumerate(tasks):
        own = torch.from_numpy(one.rows)
        logits, labels = samples.features(own) @ weights[k].T, samples.labels[own]
        prior = torch.from_numpy(one.counts / one.counts.sum())
        assert scores.right[k] == (logits.argmax(1) == labels).sum()
        assert scores.right_prior[k, 0] == ((logits + prior.log()).argmax(1) == labels).sum()
    assert scores.total.tolist() == sizes


def test_the_summary_matches_values_computed_by_hand():
    # The client without test samples is ignored.
    assert summary(np.array([0.5, 1.0, np.nan, 0.0, 0.5]), np.array([10, 2, 0, 4, 4])) == {
        "mean": 0.5,
        "worst": 0.0,
        "bottom_decile": 0.0,
        "std": pytest.approx(math.sqrt((0 + 0.25 + 0.25 + 0) / 4)),
        "pooled": pytest.approx((5 + 2 + 0 + 2) / 20),
        "clients": 4,
        "too_few": 0,
    }


def test_the_worst_client_is_one_with_enough_test_samples():
    result = summary(np.array([0.2, 0.6, 0.4, np.nan]), np.array([9, 10, 11, 0]), min_test=10)
    assert (result["worst"], result["bottom_decile"], result["too_few"]) == (0.4, 0.4, 1)
    assert result["mean"] == pytest.approx(0.4)  # of all three
    assert result["clients"] == 3


def test_without_a_client_with_enough_test_samples_there_is_no_worst_client():
    result = summary(np.array([0.2, 0.6]), np.array([9, 3]), min_test=10)
    assert (result["worst"], result["bottom_decile"], result["too_few"]) == (None, None, 2)


def test_the_bottom_decile_is_the_mean_of_the_lowest_tenth():
    result = summary(np.linspace(0, 1, 30)[::-1], np.ones(30))
    assert result["bottom_decile"] == pytest.approx((0 + 1 + 2) / 29 / 3)
    assert result["worst"] == 0


def test_without_test_samples_there_is_no_summary():
    assert summary(np.array([np.nan, np.nan]), np.zeros(2)) is None
    assert summary(np.array([]), np.array([])) is None
