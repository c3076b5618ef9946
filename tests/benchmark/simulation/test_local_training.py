"""Local training against plain torch, of one client alone and of many in one pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation import batch as batches
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.local_training import collect_statistics, train_clients
from fedprompt.benchmark.simulation.tasks import ClientState, ClientTask, ClientUpdate, LocalTraining
from fedprompt.methods.base import Method, Phase, State, Streams
from fedprompt.methods.optimisers.fedprox import FedProx
from fedprompt.methods.registry import Recipe
from tests import toy

TRAINING = LocalTraining(epochs=2, batch_size=4, lr=0.1, momentum=0.9, weight_decay=0.1)


class Linear(Method):
    """A head whose scale is shared and whose shift stays with the client; the shift does not decay."""

    no_decay = ("shift",)

    def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        logits = batch.linear(vit.features(batch), state["weight"], state["shift"])
        batch.log("top", logits.max(1).values)
        return logits


class Staged(Linear):
    """The weight first, for two epochs; then the shift for three, ten times as fast."""

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(("weight",), epochs=2), Phase(("shift",), epochs=3, lr=1.0))


class Sums(Linear):
    """Uploads, for each class that a client holds, how many samples there are and the sum of their features."""

    class_rows = ("sum", "count")

    def statistics(self, vit: FrozenViT, batch: Batch, state: State) -> State:  # type: ignore[override]
        features = vit.features(batch)
        return {"sum": batch.class_sums(features), "count": batch.class_sums(torch.ones(len(features), 1))}


def job(client: int, rows: list[int], seed: int | None = None) -> ClientTask:
    rng = torch.Generator().manual_seed(client)
    return ClientTask(
        client=client,
        rows=np.array(rows),
        counts=np.bincount(toy.dataset().train_y[rows], minlength=toy.CLASSES),
        state=ClientState(
            {"weight": torch.randn(toy.CLASSES, toy.vit().dim, generator=rng) / 5},
            {},
            {"shift": torch.randn(toy.CLASSES, generator=rng)},
        ),
        rng=np.random.default_rng(client if seed is None else seed),
    )


def train(method: Method, *jobs: ClientTask, training: LocalTraining = TRAINING) -> list[ClientUpdate]:
    return train_clients(Recipe("toy", method), toy.vit(), toy.train_samples(), jobs, training)


def by_hand(
    of: ClientTask, *phases: tuple[tuple[str, ...], int, float], mu: float = 0.0, clip: float | None = None
) -> tuple[State, list[float]]:
    """Plain torch: (tensors that train, epochs, rate) after one another; ends with tensors and the losses of steps."""
    state = {name: value.clone().requires_grad_() for name, value in {**of.state.shared, **of.state.local}.items()}
    start, losses = of.state.shared["weight"], []
    order = np.random.default_rng(of.client)
    for trains, epochs, rate in phases:
        groups = [{"params": [state[name]], "weight_decay": 0.0 if name == "shift" else 0.1} for name in trains]
        optimiser = torch.optim.SGD(groups, rate, momentum=0.9)
        for rows in [r for _ in range(epochs) for r in torch.from_numpy(order.permutation(of.rows)).split(4)]:
            features = toy.train_samples().features(rows)
            labels = torch.from_numpy(toy.dataset().train_y)[rows]
            loss = functional.cross_entropy(features @ state["weight"].T + state["shift"], labels)
            losses.append(loss.item())
            optimiser.zero_grad()
            (loss + mu / 2 * (state["weight"] - start).square().sum()).backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_([state[name] for name in trains], clip)
            optimiser.step()
    return {name: value.detach() for name, value in state.items()}, losses


def close(update: ClientUpdate, state: State) -> None:
    torch.testing.assert_close(update.shared["weight"], state["weight"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(update.local["shift"], state["shift"], rtol=1e-4, atol=1e-5)


BOTH = (("weight", "shift"), 2, 0.1)


def test_one_client_learns_as_torch_sgd_does() -> None:
    client = job(0, list(range(10)))  # batches of 4, 4 and 2
    expected, losses = by_hand(client, BOTH)
    (update,) = train(Linear(), client)
    close(update, expected)
    assert update.loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert update.images == 20
    assert update.samples == 10
    assert update.classes.tolist() == sorted(set(toy.dataset().train_y[:10]))


def test_clients_in_one_pass_learn_as_each_does_alone_and_a_finished_one_stands_still() -> None:
    """By torch's own momentum and weight decay, which would move a finished client on if it stayed in the pass."""
    clients = [job(0, list(range(3))), job(1, list(range(5, 30))), job(2, [40, 41, 42, 43, 44])]
    together = train(Linear(), *clients)
    assert [update.client for update in together] == [0, 1, 2]
    assert [update.images for update in together] == [2 * 3, 2 * 25, 2 * 5]
    for update, of in zip(together, clients, strict=True):
        expected, losses = by_hand(of, BOTH)
        close(update, expected)
        assert update.loss == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("limit", [0.05, 0.5, 1e6])
def test_the_gradient_of_each_client_is_clipped_by_its_own_norm_over_all_tensors(limit: float) -> None:
    clients = [job(0, list(range(9))), job(1, list(range(20, 26)))]
    together = train(Linear(), *clients, training=replace(TRAINING, clip_norm=limit))
    for update, of in zip(together, clients, strict=True):
        close(update, by_hand(of, BOTH, clip=limit)[0])


def test_a_clipped_step_is_as_long_as_the_bound_allows() -> None:
    """One step without decay: the bound times the rate where the gradient is longer, the gradient where it is not."""
    one = LocalTraining(epochs=1, batch_size=60, lr=0.5, momentum=0.9, weight_decay=0.0)
    client = job(0, list(range(20)))

    def step(limit: float | None) -> float:
        (update,) = train(Linear(), client, training=replace(one, clip_norm=limit))
        moved = (
            update.shared["weight"] - client.state.shared["weight"],
            update.local["shift"] - client.state.local["shift"],
        )
        return float(torch.cat([part.flatten() for part in moved]).norm()) / one.lr

    whole = step(None)
    assert step(whole / 4) == pytest.approx(whole / 4, rel=1e-4)
    assert step(whole * 4) == pytest.approx(whole, rel=1e-6)


def test_the_phases_train_what_they_name_for_as_long_and_as_fast_as_they_say() -> None:
    expected, losses = by_hand(job(0, list(range(10))), (("weight",), 2, 0.1), (("shift",), 3, 1.0))
    (update,) = train(Staged(), job(0, list(range(10))))
    close(update, expected)
    assert update.loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert update.images == 5 * 10


def test_a_tensor_that_no_phase_trains_keeps_its_bits() -> None:
    class Half(Linear):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase(("shift",)),)

    client = job(0, list(range(10)))
    (update,) = train(Half(), client)
    assert torch.equal(update.shared["weight"], client.state.shared["weight"])
    assert not torch.equal(update.local["shift"], client.state.local["shift"])


def test_a_phase_that_trains_what_does_not_exist_is_an_error() -> None:
    class Lost(Linear):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase(("prompt",)),)

    with pytest.raises(ValueError, match=r"prompt.*weight.*shift"):
        train(Lost(), job(0, [0, 1]))


@pytest.mark.parametrize(
    ("method", "phases"),
    [(Linear(), [BOTH]), (Staged(), [(("weight",), 2, 0.1), (("shift",), 3, 1.0)])],
)
def test_a_penalty_pulls_the_shared_tensors_in_training_alone(
    method: Method, phases: list[tuple[tuple[str, ...], int, float]]
) -> None:
    expected, _ = by_hand(job(0, list(range(10))), *phases, mu=0.7)
    recipe = Recipe("toy+fedprox", method, (FedProx(mu=0.7),))
    (update,) = train_clients(recipe, toy.vit(), toy.train_samples(), [job(0, list(range(10)))], TRAINING)
    close(update, expected)


def test_what_a_client_received_is_not_written_to() -> None:
    client = job(0, list(range(10)))
    before = {name: value.clone() for name, value in {**client.state.shared, **client.state.local}.items()}
    train(Linear(), client)
    for name, value in {**client.state.shared, **client.state.local}.items():
        assert torch.equal(value, before[name])
        assert not value.requires_grad


def test_the_generators_of_the_jobs_are_left_as_they_were() -> None:
    clients = [job(0, list(range(10))), job(1, list(range(20, 23)))]
    before = [client.rng.bit_generator.state for client in clients]
    first, again = train(Linear(), *clients), train(Linear(), *clients)
    assert [client.rng.bit_generator.state for client in clients] == before
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.shared["weight"], other.shared["weight"])


def test_a_loss_that_is_not_finite_names_the_client_and_the_remedy() -> None:
    class Brittle(Linear):
        def loss(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
            reds = batch.own(batch.counts)[:, 0]  # 0 * log 0 is not a number
            return super().loss(vit, batch, state) + 0 * reds.log()

    good, bad = toy.rows_of(0, 1).tolist(), toy.rows_of(1, 2).tolist()
    with pytest.raises(FloatingPointError, match=r"client 7 is not finite.*--lr 0\.1"):
        train(Brittle(), job(3, good), job(7, bad))


def test_diagnostics_are_means_over_a_clients_own_steps() -> None:
    class Constant(Linear):
        def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
            batch.log("share", batch.own(batch.prior)[:, 0])
            return super().logits(vit, batch, state)

    reds, others = toy.rows_of(0)[:9].tolist(), toy.rows_of(1)[:3].tolist()
    updates = train(Constant(), job(0, reds), job(1, reds[:1] + others))
    assert [update.notes["share"] for update in updates] == [1.0, 0.25]


@pytest.mark.parametrize("tokens_a_pass", [10**6, 0])  # 0: sixteen samples a pass
def test_statistics_cover_all_of_a_clients_data_whatever_the_pass(
    tokens_a_pass: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "TOKENS_PER_PASS", {"cpu": tokens_a_pass})
    clients = [job(0, list(range(40))), job(1, [41, 45, 50])]
    found = collect_statistics(Recipe("toy", Sums()), toy.vit(), toy.train_samples(), clients)
    for k, client in enumerate(clients):
        held = np.flatnonzero(client.counts)
        assert found[k]["count"][:, 0].tolist() == client.counts[held].tolist()
        for place, c in enumerate(held):
            rows = [r for r in client.rows if toy.dataset().train_y[r] == c]
            expected = toy.train_samples().features(torch.tensor(rows, dtype=torch.int64)).sum(0)
            torch.testing.assert_close(found[k]["sum"][place], expected, rtol=1e-4, atol=1e-4)


def test_statistics_are_taken_before_training_and_travel_with_the_update() -> None:
    class Weights(Linear):
        def statistics(self, vit: FrozenViT, batch: Batch, state: State) -> State:  # type: ignore[override]
            return {"seen": state["weight"] * batch.mask.view(batch.clients, -1).sum(1).view(-1, 1, 1)}

    client = job(0, list(range(10)))
    (update,) = train(Weights(), client)
    torch.testing.assert_close(update.statistics["seen"], 10 * client.state.shared["weight"])


def test_a_method_without_statistics_uploads_none() -> None:
    assert collect_statistics(Recipe("toy", Linear()), toy.vit(), toy.train_samples(), [job(0, [0])]) == [{}]


def test_batches_of_equal_generators_are_equal_whatever_is_trained() -> None:
    seen: dict[str, list[list[int]]] = {"a": [], "b": []}

    class Spy(Linear):
        key: str = "a"

        def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
            seen[self.key].append(batch.rows.tolist())
            return super().logits(vit, batch, state)

    train(Spy(key="a"), job(0, list(range(10)), seed=9))
    train(Spy(key="b"), replace(job(1, list(range(10)), seed=9)), training=replace(TRAINING, lr=0.5))
    assert seen["a"] == seen["b"]
    for epoch in (seen["a"][:3], seen["a"][3:]):
        assert sorted(row for batch in epoch for row in batch) == list(range(10))
        assert [len(batch) for batch in epoch] == [4, 4, 2]


def test_memory_is_read_and_not_trained() -> None:
    class Shifted(Linear):
        def memory(self, vit: FrozenViT, rng: Streams) -> State:  # type: ignore[override]
            return {"offset": torch.zeros(toy.CLASSES)}

        def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
            return super().logits(vit, batch, state) + batch.own(state["offset"])

    plain = job(0, list(range(10)))
    memory, local = {"offset": plain.state.local["shift"]}, {"shift": torch.zeros(toy.CLASSES)}
    moved = replace(plain, state=ClientState(plain.state.shared, memory, local))
    (update,) = train(Shifted(), moved)
    (expected,) = train(Linear(), plain)
    torch.testing.assert_close(update.shared["weight"], expected.shared["weight"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(update.local["shift"] + plain.state.local["shift"], expected.local["shift"])
    assert "offset" not in update.shared.keys() | update.local.keys()


class Rows(Linear):
    """A bias per class as a head, of which a client holds the rows of its own classes; sums of them travel."""

    class_rows = ("bias", "sum")

    def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        logits = super().logits(vit, batch, state)
        return logits.scatter_add(1, batch.own(batch.classes), batch.own(state["bias"] * batch.info.owned))

    def statistics(self, vit: FrozenViT, batch: Batch, state: State) -> State:  # type: ignore[override]
        return {"sum": batch.class_sums(vit.features(batch))}


def test_of_tensors_with_a_row_per_class_a_client_has_those_of_its_classes_and_learns_as_with_all() -> None:
    """A dense layer in plain torch, whose rows of absent classes never enter, is the reference."""
    clients = [job(0, toy.rows_of(1, 3).tolist()), job(1, toy.rows_of(0, 1, 2).tolist())]
    clients = [
        replace(c, state=replace(c.state, shared=c.state.shared | {"bias": torch.tensor([0.5, -0.5, 1.0, 2.0])}))
        for c in clients
    ]
    plain = replace(TRAINING, weight_decay=0.0)
    for update, of in zip(train(Rows(), *clients, training=plain), clients, strict=True):
        held = np.flatnonzero(of.counts).tolist()
        dense = {name: value.clone().requires_grad_() for name, value in {**of.state.shared, **of.state.local}.items()}
        optimiser = torch.optim.SGD(dense.values(), 0.1, momentum=0.9)
        order = np.random.default_rng(of.client)
        inside = torch.zeros(toy.CLASSES).index_fill(0, torch.tensor(held), 1.0)
        for rows in [r for _ in range(2) for r in torch.from_numpy(order.permutation(of.rows)).split(4)]:
            logits = toy.train_samples().features(rows) @ dense["weight"].T + dense["shift"] + inside * dense["bias"]
            optimiser.zero_grad()
            functional.cross_entropy(logits, toy.train_samples().labels[rows]).backward()
            optimiser.step()
        close(update, dense)
        torch.testing.assert_close(update.shared["bias"], dense["bias"].detach()[held], rtol=1e-4, atol=1e-5)
        assert update.statistics["sum"].shape == (len(held), toy.vit().dim)
        assert update.classes.tolist() == held
