"""SGPT: shared prompts for all samples and group prompts for similar samples, trained alternately."""

from __future__ import annotations

from fedprompt.methods import (
    Backbone,
    Batch,
    Method,
    MethodError,
    Phase,
    State,
    Streams,
    Uploads,
    hyperparameter,
    register,
)
from fedprompt.methods.components.prompts import (
    classify,
    cosines,
    insert_after_cls,
    linear_head,
    select_top,
    vpt_uniform,
)
from fedprompt.methods.lazy import Tensor, functional, torch

HEAD = ("head.weight", "head.bias")
MIN_USAGE = 5e-4  # added to a group's usage share, as in the official code


@register(
    "sgpt",
    paper="Deng et al., Unlocking the potential of prompt-tuning in bridging generalized and personalized FL, CVPR",
    url="https://arxiv.org/abs/2310.18285",
    year=2024,
    family="global prompts",
)
class SGPT(Method):
    """Shared prompts enter the first layers; later layers get the prompts of each sample's nearest group.

    Clients train head and shared prompts without groups, then head, group prompts and keys. All clients, including
    held-out ones, predict with the averaged model.
    """

    seen_with = held_out_with = "the averaged model, with group prompts selected per sample"
    tokens: int = hyperparameter(1, "shared tokens at the first layer; one more enters at each further layer", low=1)
    shared_layers: int | None = hyperparameter(
        None, "number of layers with shared prompts; None: a third of all layers", low=1
    )
    group_layers: int | None = hyperparameter(
        None, "number of following layers with group prompts; None: a fourth of all layers", low=1
    )
    groups: int = hyperparameter(20, "number of groups, each with a key and one token per layer", low=1)
    pull: float = hyperparameter(1.0, "weight of the cosine between a sample and the key of its group", low=0)
    momentum: float = hyperparameter(0.5, "weight of the old group prompts in the server's update", low=0, high=1)
    key_momentum: float = hyperparameter(0.5, "weight of the old keys in the server's update", low=0, high=1)
    enough: int = hyperparameter(
        50, "up to this many samples, counted in every local epoch, all clients weigh the same in a key's mean", low=0
    )
    version = 2
    selects = ("group", "keys")
    upload_kinds = {"drawn": "sample counts"}
    local_optimiser = "SGD 0.01, momentum 0.9, weight decay 1e-5 (ubc-tea/SGPT, train.sh, main_prompt.py)"
    deviations = (
        "groups are selected per sample; on domains the official code trains with a batch's most frequent group",
        "the number of layers scales with depth; for 12 layers it gives the official blocks 0-3 and 4-6",
        "a client counts its samples per group in one pass after its training, times the local epochs, and the server "
        "sums these counts over rounds; the official code counts in the epochs themselves, while the keys move",
        "usage is constant within a round, because clients train in parallel; in the official code (ubc-tea/SGPT, "
        "main_prompt.py) clients train one after the other, and each penalises the usage that includes its "
        "predecessors of the same round; effect not measured",
        "queries are final cls features; on domains the official code uses the cls token after block 5",
        "not copied from the official code: weights of domain clients that count more data than they train on, and "
        "momentum that lets the last client's group prompts replace all others",
    )

    def layers(self, vit: Backbone) -> tuple[int, int]:
        """Number of layers with shared prompts, and with group prompts."""
        return self.shared_layers or max(1, round(vit.depth / 3)), self.group_layers or max(1, round(vit.depth / 4))

    def check(self, vit: Backbone) -> None:
        if sum(self.layers(vit)) > vit.depth:
            first, second = self.layers(vit)
            raise MethodError(
                f"sgpt.shared_layers={first} and group_layers={second} exceed the backbone's {vit.depth} layers."
            )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        first, second = self.layers(vit)
        return {
            "shared": torch.zeros(self.tokens + first - 1, vit.dim),
            "group": vpt_uniform(vit, (self.groups, second), rng),
            "keys": torch.nn.init.orthogonal_(torch.empty(self.groups, vit.dim), generator=rng("keys")),
            **linear_head(vit, rng),
        }

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {"usage": torch.zeros(self.groups)}

    def phases(self) -> tuple[Phase, ...]:
        return Phase((*HEAD, "shared")), Phase((*HEAD, "group", "keys"))

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        shared_only = batch.phase is not None and batch.phase == self.phases()[0]
        return self._logits(vit, batch, state, None if shared_only else self.assign_groups(vit, batch, state))

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cross-entropy; in the group phase minus `pull` times the cosine with the key of the sample's group."""
        if batch.phase is not None and batch.phase == self.phases()[0]:
            return super().loss(vit, batch, state)
        chosen = self.assign_groups(vit, batch, state)
        logits = self._logits(vit, batch, state, chosen)
        similarity = self.similarity(vit, batch, state).gather(1, chosen.argmax(1, keepdim=True)).squeeze(1)
        return batch.cross_entropy(logits) - self.pull * similarity

    def similarity(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cosines [B, G] between the rectified frozen cls feature and the keys."""
        return cosines(batch, vit.features(batch).relu(), state["keys"])

    def assign_groups(self, vit: Backbone, batch: Batch, state: State, training: bool | None = None) -> Tensor:
        """One-hot group [B, G] of each sample: the nearest key; in training, frequently used groups are penalised."""
        scores = self.similarity(vit, batch, state).detach()
        if batch.phase is not None if training is None else training:
            share = state["usage"] / state["usage"].sum(1, keepdim=True).clamp_min(1)
            scores = -(1 - scores) * batch.own(share + MIN_USAGE)
        return functional.one_hot(scores.argmax(1), self.groups).to(scores.dtype)

    def _logits(self, vit: Backbone, batch: Batch, state: State, chosen: Tensor | None) -> Tensor:
        """Logits [B, C] with the prompts of the chosen groups. Without groups (None) the head reads only cls."""
        x, layer = vit.embed(batch), 1
        first = len(state["shared"][0]) - self.tokens + 1
        for layer in range(1, first + 1):
            rows = slice(0, self.tokens) if layer == 1 else slice(self.tokens + layer - 2, self.tokens + layer - 1)
            x = vit.layers(insert_after_cls(x, batch.own(state["shared"][:, rows])), layer, min(layer, vit.depth - 1))
        if chosen is None:
            return classify(batch, vit.encode(x, first + 1), state)
        prompts = select_top(batch, chosen, state["group"], 1)[:, 0]  # [B, group layers, D]
        for i in range(prompts.shape[1]):
            layer = first + 1 + i
            x = insert_after_cls(x, prompts[:, i : i + 1])
            x = vit.layers(x, layer, layer) if layer < vit.depth else x
        out = vit.outputs(x, 1 + prompts.shape[1], min(layer + 1, vit.depth))
        return classify(batch, out.mean(1), state)

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Number of samples per group [K, G] in one pass, assigned as in training."""
        return {"drawn": batch.class_sums(self.assign_groups(vit, batch, state, training=True)).sum(1)}

    def combine(self, server: State, uploads: Uploads) -> State:
        """Averages keys by the samples assigned to them and other tensors by sample counts; then applies momentum."""
        drawn = uploads.reports["drawn"] * uploads.epochs  # [K, G]
        total = drawn.sum(0)
        weights = torch.where(total > self.enough, drawn / total.clamp_min(1), 1 / len(drawn))
        keys = torch.einsum("kg,kgd->gd", weights, uploads.shared["keys"])
        new = super().combine(server, uploads)
        new["group"] = self.momentum * server["group"] + (1 - self.momentum) * new["group"]
        new["keys"] = self.key_momentum * server["keys"] + (1 - self.key_momentum) * keys
        return {**new, "usage": server["usage"] + total}
