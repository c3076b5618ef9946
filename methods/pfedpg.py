"""Personal prompts that the server generates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedprompt.methods.base import Backbone, Batch, Method, State, Streams, Uploads, hyperparameter
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.lazy import torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor

GENERATOR = ("base", "query", "key", "value", "out")


@register(
    "pfedpg",
    paper="Yang et al., Efficient model personalization in federated learning via client-specific prompt generation, "
    "ICCV",
    year=2023,
    family="personal prompts",
    variants={"base": {"newcomer": "base"}},
)
class PFedPG(Method):
    """The server makes each client's prompts from base prompts and the client's descriptor by cross-attention.

    A client tunes them with a head of its own, sends the prompts back, and predicts with what it tuned; the server
    moves its generator towards them. A held-out client takes the prompts of `newcomer` and the mean of the heads.
    """

    personalised = True
    seen_with = "the prompts that it tuned last, else generated ones, under its own head"
    held_out_with = "the mean descriptor's prompts (:base, the base prompts) under the mean of the clients' heads"
    personal_copies = ("prompt",)
    rebuilt = "pfedpg generates each client's prompts anew"
    adapted = ("prompt", "head.weight", "head.bias")
    tokens: int = hyperparameter(10, "prompt tokens at the first layer", low=1)
    width: int = hyperparameter(64, "width of the generator's attention", low=1)
    server_lr: float = hyperparameter(0.1, "learning rate of the generator and the descriptors", low=0)
    newcomer: Literal["mean", "base"] = hyperparameter(
        "mean", "a held-out client's prompts: those of the mean descriptor of all who trained, or the base prompts"
    )
    deviations = (
        "no official code: from the paper's equations, one vector per client being added to all base prompts",
        "the generator steps along the cohort's mean, at 0.1; the paper's rate is 0.001 over 100 rounds of all clients",
        "the paper has no held-out client; `newcomer` says what one predicts with",
        "not repeated from unofficial code: a step away from the clients' prompts, and clients that never get theirs",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"prompt": vpt_uniform(vit, (self.tokens,), rng)}

    def local(self, vit: Backbone, rng: Streams) -> State:
        return linear_head(vit, rng)

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        """Base prompts, the attention that makes prompts of them, a descriptor a client, and who has trained."""

        def normal(purpose: str, rows: int, columns: int, scale: float) -> Tensor:
            return torch.empty(rows, columns).normal_(0, scale, generator=rng(purpose))

        inner, outer = vit.dim**-0.5, self.width**-0.5
        return {
            "base": vpt_uniform(vit, (self.tokens,), rng),
            "query": normal("query", vit.dim, self.width, inner),
            "key": normal("key", vit.dim, self.width, inner),
            "value": normal("value", vit.dim, self.width, inner),
            "out": normal("out", self.width, vit.dim, outer),
            "descriptors": normal("descriptors", clients, vit.dim, 1.0),
            "trained": torch.zeros(clients),
        }

    def generate(self, generator: State, descriptor: Tensor) -> Tensor:
        """Prompts [tokens, D] for a descriptor [D] (its equations 3 and 4)."""
        base = generator["base"]
        scores = descriptor @ generator["query"] @ (base @ generator["key"]).T / self.width**0.5
        return base + scores.softmax(-1) @ (base @ generator["value"]) @ generator["out"]

    def download(self, server: State, client: int | None) -> State:
        if client is None:
            return server
        return {**server, "prompt": self.generate(server, server["descriptors"][client])}

    def combine(self, server: State, uploads: Uploads) -> State:
        """One descent step: a client's gradient is P_n - P_updated, carried back through the generator."""
        names = [*GENERATOR, "descriptors"]
        leaves = {name: server[name].detach().clone().requires_grad_() for name in names}
        clients = list(uploads.clients)
        with torch.enable_grad():
            made = torch.stack([self.generate(leaves, leaves["descriptors"][n]) for n in clients])
        steps = torch.autograd.grad(made, list(leaves.values()), made.detach() - uploads.shared["prompt"])
        new = {}
        for name, step in zip(names, steps, strict=True):
            share = 1 if name == "descriptors" else len(clients)  # a descriptor has its own client's gradient alone
            new[name] = server[name] - self.server_lr / share * step
        trained = server["trained"].clone()
        trained[clients] = 1
        server = {**server, **new, "trained": trained}
        return {**server, "prompt": self.new_prompt(server)}

    def new_prompt(self, server: State) -> Tensor:
        """What a held-out client receives."""
        if self.newcomer == "base":
            return server["base"]
        return self.generate(server, server["trained"] @ server["descriptors"] / server["trained"].sum().clamp_min(1))

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return classify(batch, vit.encode(insert_after_cls(vit.embed(batch), batch.own(state["prompt"]))), state)
