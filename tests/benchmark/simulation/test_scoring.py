import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation import batch as batches
from fedprompt.benchmark.simulation import scoring
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.scoring import ScoringTask, joined, score, summary
from fedprompt.benchmark.simulation.tasks import ClientState
from fedprompt.methods.base import Method, State
from fedprompt.methods.registry import Recipe
from tests import toy


class Fixed(Method):
    """The same logits for every sample of a client: its own state."""

    def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        batch.log("label", batch.labels)
        return batch.own(state["logits"])


class Margins(Fixed):
    """Scores that are no log-odds."""

    log_odds = False


class Probe(Method):
    """A linear head on the frozen feature."""

    def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        return batch.linear(vit.features(batch), state["weight"], state["bias"])


def subject(client: int, rows: list[int], counts: list[int], logits: list[float]) -> ScoringTask:
    return ScoringTask(
        client, np.array(rows, np.int64), np.array(counts), ClientState({"logits": torch.tensor(logits)}, {}, {})
    )


def scored(method: Method, subjects: list[ScoringTask]):  # type: ignore[no-untyped-def]
    return score(Recipe("toy", method), toy.vit(), toy.test_samples(), subjects)


def rows(*classes: int) -> list[int]:
    """One test row for each class named, a class's next one where it is named again."""
    stock = {c: iter(toy.rows_of(c, part="test").tolist()) for c in set(classes)}
    return [next(stock[c]) for c in classes]


def test_plain_and_prior_corrected_answers_by_hand() -> None:
    # log prior: class 0: log 1/8, class 1: log 7/8, the others -inf.
    logits = [1.0, 0.0, 5.0, 0.0]  # plain: class 2; corrected: 1 - 2.08 < 0 - 0.13, so class 1
    found = scored(Fixed(), [subject(0, rows(0, 1, 1, 2, 2, 2), [1, 7, 0, 0], logits)])
    assert found.total.tolist() == [6]
    assert found.right.tolist() == [3]
    assert found.right_prior.tolist() == [2]
    assert found.accuracy.tolist() == [0.5]
    assert found.accuracy_prior.tolist() == [pytest.approx(1 / 3)]


def test_the_correction_of_scores_without_a_scale_masks_alone() -> None:
    found = scored(Margins(), [subject(0, rows(0, 1, 1, 2, 2, 2), [1, 7, 0, 0], [1.0, 0.0, 5.0, 0.0])])
    assert found.right.tolist() == [3]  # class 2
    assert found.right_prior.tolist() == [1]  # class 0, though class 1 has seven times its prior


def test_the_correction_adds_log_shares_and_not_more() -> None:
    gap = math.log(3)  # prior 3/4 against 1/4
    just_under, just_over = [0.0, gap - 0.01, 0.0, 0.0], [0.0, gap + 0.01, 0.0, 0.0]
    found = scored(Fixed(), [subject(k, rows(0, 1, 1), [3, 1, 0, 0], x) for k, x in enumerate((just_under, just_over))])
    assert found.right_prior.tolist() == [1, 2]


def test_without_known_labels_the_correction_changes_nothing() -> None:
    found = scored(Fixed(), [subject(0, rows(2, 2, 1), [0, 0, 0, 0], [0.0, 1.0, 5.0, 0.0])])
    assert found.right.tolist() == found.right_prior.tolist() == [2]


def test_a_subject_without_test_data_has_no_accuracy() -> None:
    found = scored(
        Fixed(), [subject(0, [], [1, 0, 0, 0], [0.0] * 4), subject(1, rows(0), [1, 0, 0, 0], [1.0, 0, 0, 0])]
    )
    assert found.total.tolist() == [0, 1]
    assert math.isnan(found.accuracy[0])
    assert found.accuracy[1] == 1


def test_diagnostics_are_summed_over_each_subjects_own_rows() -> None:
    subjects = [subject(0, rows(3, 2, 1), [1, 1, 1, 1], [0.0] * 4), subject(1, rows(1), [1, 1, 1, 1], [0.0] * 4)]
    assert scored(Fixed(), subjects).notes["label"].tolist() == [6, 1]


class Tabled(Fixed):
    """Hands over, for each sample, its client's number at every class."""

    def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        batch.log_by_class("table", batch.own(state["logits"]))
        return batch.own(state["logits"])


def table_of(*subjects: ScoringTask) -> list[list[float | None]]:
    return scored(Tabled(), list(subjects)).means_by_class()["table"]


def test_rows_by_class_are_means_over_the_samples_of_each_true_class() -> None:
    first = subject(0, rows(0, 0, 2), [1] * 4, [0.5, 0, 0, 0.25])
    second = subject(1, rows(0), [1] * 4, [0.0, 1, 0, 0])  # shorter, so that its pass fills up
    none = [None] * 4
    assert table_of(first, second) == [[0.3333, 0.3333, 0, 0.1667], none, [0.5, 0, 0, 0.25], none]


def test_rows_by_class_leave_out_held_out_clients() -> None:
    held_out = replace(subject(1, rows(0, 1), [1] * 4, [0.0, 1, 0, 0]), held_out=True)
    assert table_of(subject(0, rows(0), [1] * 4, [1.0, 0, 0, 0]), held_out) == [[1, 0, 0, 0], *[[None] * 4] * 3]


def test_rows_by_class_of_several_groups_are_added_up() -> None:
    parts = [scored(Tabled(), [subject(k, rows(k), [1] * 4, [k + 1.0, 0, 0, 0])]) for k in (0, 1)]
    assert joined(parts).means_by_class()["table"][:2] == [[1, 0, 0, 0], [2, 0, 0, 0]]


def test_there_are_no_rows_by_class_where_the_classes_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    one = subject(0, rows(0), [1] * 4, [1.0, 0, 0, 0])
    monkeypatch.setattr(scoring, "MOST_CLASSES", 4)
    assert scored(Tabled(), [one]).means_by_class()
    monkeypatch.setattr(scoring, "MOST_CLASSES", 3)
    assert scored(Tabled(), [one]).means_by_class() == {}


def test_the_number_of_threads_changes_no_bit_of_the_rows_by_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "TOKENS_PER_PASS", {"cpu": 0})  # many passes
    rng = np.random.default_rng(0)
    subjects = [subject(k, rng.permutation(30)[: 3 * k].tolist(), [1] * 4, rng.random(4).tolist()) for k in range(9)]
    one, many = (
        score(Recipe("toy", Tabled()), toy.vit(), toy.test_samples(), subjects, threads).by_class["table"]
        for threads in (1, 4)
    )
    assert one.tobytes() == many.tobytes()


@pytest.mark.parametrize("tokens_a_pass", [0, 17 * 20, 10**6])  # 16, 20 and all samples a pass
def test_the_size_of_a_pass_changes_no_score(tokens_a_pass: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "TOKENS_PER_PASS", {"cpu": tokens_a_pass})
    rng = np.random.default_rng(0)
    sizes = [30, 0, 1, 17, 5, 16, 30, 2]
    weights = [torch.randn(4, toy.vit().dim, generator=torch.Generator().manual_seed(k)) for k in range(len(sizes))]
    subjects = [
        ScoringTask(k, rng.permutation(30)[:size], rng.integers(1, 9, 4), ClientState(state, {}, {}))
        for k, size in enumerate(sizes)
        for state in [{"weight": weights[k], "bias": torch.zeros(4)}]
    ]
    found = scored(Probe(), subjects)
    for k, one in enumerate(subjects):
        own = torch.from_numpy(one.rows)
        logits = toy.test_samples().features(own) @ weights[k].T
        labels = toy.test_samples().labels[own]
        prior = torch.from_numpy(one.counts / one.counts.sum())
        assert found.right[k] == (logits.argmax(1) == labels).sum()
        assert found.right_prior[k] == ((logits + prior.log()).argmax(1) == labels).sum()
    assert found.total.tolist() == sizes


def test_the_summary_by_hand() -> None:
    # A client without test samples counts nowhere.
    found = summary(np.array([0.5, 1.0, np.nan, 0.0, 0.5]), np.array([10, 2, 0, 4, 4]))
    assert found == {
        "mean": 0.5,
        "worst": 0.0,
        "bottom_decile": 0.0,
        "std": pytest.approx(math.sqrt((0 + 0.25 + 0.25 + 0) / 4)),
        "pooled": pytest.approx((5 + 2 + 0 + 2) / 20),
        "clients": 4,
    }


def test_the_bottom_decile_is_the_mean_of_the_lowest_tenth() -> None:
    accuracy = np.linspace(0, 1, 30)[::-1]
    found = summary(accuracy, np.ones(30))
    assert found is not None
    assert found["bottom_decile"] == pytest.approx((0 + 1 + 2) / 29 / 3)
    assert found["worst"] == 0


def test_without_test_data_there_is_no_summary() -> None:
    assert summary(np.array([np.nan, np.nan]), np.zeros(2)) is None
    assert summary(np.array([]), np.array([])) is None
