"""Shared prompts for all samples and group prompts for alike ones, trained in turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Method, Phase, State, Streams, Uploads, hyperparameter
from fedprompt.methods.components.prompts import best, classify, cosines, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.errors import MethodError
from fedprompt.methods.lazy import functional, torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor

HEAD = ("head.weight", "head.bias")
FLOOR = 5e-4  # added to a group's share of use in the official code, so that an unused group still has a score


@register(
    "sgpt",
    paper="Deng et al., Unlocking the potential of prompt-tuning in bridging generalized and personalized FL, CVPR",
    year=2024,
    family="global prompts",
)
class SGPT(Method):
    """Shared prompts enter the first layers; further up each sample gets the prompts of the group whose key is nearest.

    A client trains head and shared prompts without groups, then head, group prompts and keys. One model for all: a
    held-out client predicts with it, each sample choosing its group.
    """

    seen_with = held_out_with = "the averaged model, each sample with the group prompts nearest to it"
    tokens: int = hyperparameter(1, "shared tokens at the first layer; one enters at each further one", low=1)
    shared_layers: int | None = hyperparameter(None, "layers that shared prompts enter; None: a third of all", low=1)
    group_layers: int | None = hyperparameter(
        None, "layers after them that group prompts enter; None: a fourth of all", low=1
    )
    groups: int = hyperparameter(20, "groups, each with a key and one token a layer", low=1)
    pull: float = hyperparameter(1.0, "weight of the cosine between a sample and its group's key", low=0)
    momentum: float = hyperparameter(0.5, "share of the old group prompts that the server keeps", low=0, high=1)
    key_momentum: float = hyperparameter(0.5, "share of the old keys that the server keeps", low=0, high=1)
    enough: int = hyperparameter(
        50, "samples up to which a key's clients count alike, instead of by their samples", low=0
    )
    no_decay = selects = ("group", "keys")
    deviations = (
        "group choice per sample; the official code takes a batch's most frequent group in training on domains",
        "layers scale with depth: a third and a fourth of 12 are the official blocks 0-3 and 4-6",
        "a group's use is counted in one pass over a client's data after its training, and adds up over the rounds",
        "queries are the final cls feature; on domains the official code stops after block 5",
        "not repeated from the official code: FedAvg weights of domain clients are of more data than they train on; "
        "with momentum for all tensors the last client's group prompts win",
    )

    def layers(self, vit: Backbone) -> tuple[int, int]:
        """How many layers shared prompts enter, and how many group prompts do."""
        return self.shared_layers or max(1, round(vit.depth / 3)), self.group_layers or max(1, round(vit.depth / 4))

    def check(self, vit: Backbone) -> None:
        if sum(self.layers(vit)) > vit.depth:
            first, second = self.layers(vit)
            raise MethodError(
                f"sgpt.shared_layers={first} and group_layers={second} add up to more than the backbone's {vit.depth}."
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
        return self._logits(vit, batch, state, None if shared_only else self.choice(vit, batch, state))

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cross-entropy; where groups take part, less the cosine of each sample with the key of its group."""
        if batch.phase is not None and batch.phase == self.phases()[0]:
            return super().loss(vit, batch, state)
        chosen = self.choice(vit, batch, state)
        logits = self._logits(vit, batch, state, chosen)
        near = self.nearness(vit, batch, state).gather(1, chosen.argmax(1, keepdim=True)).squeeze(1)
        return functional.cross_entropy(logits, batch.labels, reduction="none") - self.pull * near

    def nearness(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cosines [B, G] of the frozen cls feature, its negative part cut off, with the keys."""
        return cosines(batch, vit.features(batch).relu(), state["keys"])

    def choice(self, vit: Backbone, batch: Batch, state: State, training: bool | None = None) -> Tensor:
        """Each sample's group, one-hot [B, G]: the nearest; in training the less likely the more it is used."""
        scores = self.nearness(vit, batch, state).detach()
        if batch.phase is not None if training is None else training:
            share = state["usage"] / state["usage"].sum(1, keepdim=True).clamp_min(1)
            scores = -(1 - scores) * batch.own(share + FLOOR)
        return functional.one_hot(scores.argmax(1), self.groups).to(scores.dtype)

    def _logits(self, vit: Backbone, batch: Batch, state: State, chosen: Tensor | None) -> Tensor:
        """Logits with the group prompts of the groups chosen, or without any; the head then reads cls alone."""
        x, layer = vit.embed(batch), 1
        first = len(state["shared"][0]) - self.tokens + 1
        for layer in range(1, first + 1):
            own = slice(0, self.tokens) if layer == 1 else slice(self.tokens + layer - 2, self.tokens + layer - 1)
            x = vit.layers(insert_after_cls(x, batch.own(state["shared"][:, own])), layer, min(layer, vit.depth - 1))
        if chosen is None:
            return classify(batch, vit.encode(x, first + 1), state)
        prompts = best(batch, chosen, state["group"], 1)[:, 0]  # [B, group layers, D]
        for i in range(prompts.shape[1]):
            layer = first + 1 + i
            x = insert_after_cls(x, prompts[:, i : i + 1])
            x = vit.layers(x, layer, layer) if layer < vit.depth else x
        out = vit.outputs(x, 1 + prompts.shape[1], min(layer + 1, vit.depth))
        return classify(batch, out.mean(1), state)

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        """How many samples each group drew [K, G], as in training."""
        return {"drawn": batch.class_sums(self.choice(vit, batch, state, training=True)).sum(1)}

    def combine(self, server: State, uploads: Uploads) -> State:
        """Keys average by the samples that chose them, all else by sample counts; then momentum."""
        drawn = uploads.reports["drawn"]  # [K, G]
        total = drawn.sum(0)
        weights = torch.where(total > self.enough, drawn / total.clamp_min(1), 1 / len(drawn))
        keys = torch.einsum("kg,kgd->gd", weights, uploads.shared["keys"])
        new = super().combine(server, uploads)
        new["group"] = self.momentum * server["group"] + (1 - self.momentum) * new["group"]
        new["keys"] = self.key_momentum * server["keys"] + (1 - self.key_momentum) * keys
        return {**new, "usage": server["usage"] + total}
