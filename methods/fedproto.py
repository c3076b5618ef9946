"""FedProto: local models, aligned by global class prototypes."""

from __future__ import annotations

from typing import Literal

from fedprompt.methods import Backbone, Batch, State, Streams, Uploads, hyperparameter, register
from fedprompt.methods.components import prototypes
from fedprompt.methods.components.prompts import classify, vpt_uniform
from fedprompt.methods.lazy import Tensor
from fedprompt.methods.local import Local


@register(
    "fedproto",
    paper="Tan et al., FedProto: Federated prototype learning across heterogeneous clients, AAAI",
    url="https://arxiv.org/abs/2105.00243",
    year=2022,
    family="personal prompts",
    variants={"head": {"predicts": "head"}},
    compared=("head",),
)
class FedProto(Local):
    """Local prompts and heads; only class prototypes are exchanged, and features are pulled towards them.

    Clients predict the class of the nearest global prototype. A class that has none yet, since no client with samples
    of it has been sampled, is predicted only if all others are; without any prototype the answer is class 0. A held-out
    client uses the same rule under the initial prompts, because the server receives no trained prompts. Adaptation
    starts from there.
    """

    held_out = True
    seen_with = "their personal prompts and the nearest global prototype (fedproto:head: their personal head)"
    version = 2
    held_out_with = "the initial prompts and the nearest global prototype"
    pull: float = hyperparameter(1.0, "weight lambda of the squared distance to the global prototypes", low=0)
    predicts: Literal["head", "nearest"] = hyperparameter(
        "nearest", "what seen clients predict with: the paper's nearest prototype, or their own head"
    )
    class_rows = prototypes.SUMS
    local_optimiser = "SGD, momentum 0.5, or Adam (yuetan031/FedProto, lib/update.py)"
    deviations = (
        "prototypes are means over all samples of a class; the official code averages clients' means without weights",
        "without samples of a class in a round, its prototype is kept; the official code trains all clients each round",
        "the nearest prototype is sought among all classes; the official code (yuetan031/FedProto, lib/update.py) "
        "seeks it among the classes that the client holds, and adds the head's correct answers to the same counter",
        "trains prompts and head of a frozen ViT, so only the prompts can move features towards the prototypes",
    )

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return prototypes.initial(vit)

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        return {"initial.prompt": vpt_uniform(vit, (self.tokens,), rng)}

    def download(self, server: State, client: int | None) -> State:
        return {**server, "prompt": server["initial.prompt"]} if client is None else server

    def held_out_local(self, received: State, mean: State) -> State:
        weight, bias = prototypes.nearest_head(received["prototypes"], received["known"])
        return {"prompt": received["prompt"], "head.weight": weight, "head.bias": bias}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        z = self.feature(vit, batch, state)
        if self.predicts == "nearest":
            return batch.linear(z, *prototypes.nearest_head(state["prototypes"], state["known"]))
        return classify(batch, z, state)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        z = self.feature(vit, batch, state)
        loss = batch.cross_entropy(classify(batch, z, state))
        return loss + self.pull * prototypes.squared_error(batch, z, state)

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        return prototypes.sums(batch, self.feature(vit, batch, state))

    def combine(self, server: State, uploads: Uploads) -> State:
        return {**server, **prototypes.updated(server, uploads.reports)}
