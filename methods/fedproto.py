"""Clients on their own, held together by class prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedprompt.methods.base import Backbone, Batch, State, Streams, Uploads, hyperparameter
from fedprompt.methods.components.prompts import classify, vpt_uniform
from fedprompt.methods.components.prototypes import SUMS, gathered, nearest, none_known, renewed, squared_error
from fedprompt.methods.lazy import functional
from fedprompt.methods.local import Local
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "fedproto",
    paper="Tan et al., FedProto: Federated prototype learning across heterogeneous clients, AAAI",
    year=2022,
    family="personal prompts",
    variants={"nearest": {"predicts": "nearest"}},
)
class FedProto(Local):
    """Prompts and head stay with each client; class prototypes alone travel, and features are pulled towards them.

    A held-out client compares features under the initial prompts, which all clients began with, with the prototypes:
    the server has no other prompts, since none travel. Adapting, it goes on from there.
    """

    held_out = True
    seen_with = "their own prompts and head (fedproto:nearest: their own prompts, the nearest global prototype)"
    held_out_with = "the initial prompts and the nearest global prototype"
    pull: float = hyperparameter(
        1.0, "lambda, weight of the squared distance to the global prototypes in the loss", low=0
    )
    predicts: Literal["head", "nearest"] = hyperparameter(
        "head", "what seen clients predict with: see the paper's two results"
    )
    class_rows = SUMS
    deviations = (
        "prototypes are means over all samples of a class; the official code averages clients' means without weights",
        "a prototype stays while no client of a round holds its class; the official code trains all clients each round",
        "on prompts and head: features of a frozen backbone give way to the prototypes by way of the prompts alone",
    )

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return none_known(vit)

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        return {"initial.prompt": vpt_uniform(vit, (self.tokens,), rng)}

    def download(self, server: State, client: int | None) -> State:
        return {**server, "prompt": server["initial.prompt"]} if client is None else server

    def held_out_local(self, received: State, mean: State) -> State:
        weight, bias = nearest(received["prototypes"], received["known"])
        return {"prompt": received["prompt"], "head.weight": weight, "head.bias": bias}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        z = self.feature(vit, batch, state)
        if self.predicts == "nearest":
            return batch.linear(z, *nearest(state["prototypes"], state["known"]))
        return classify(batch, z, state)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        z = self.feature(vit, batch, state)
        loss = functional.cross_entropy(classify(batch, z, state), batch.labels, reduction="none")
        return loss + self.pull * squared_error(batch, z, state)

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        return gathered(batch, self.feature(vit, batch, state))

    def combine(self, server: State, uploads: Uploads) -> State:
        return {**server, **renewed(server, uploads.reports)}
