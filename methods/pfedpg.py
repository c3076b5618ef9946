"""pFedPG: the server generates personal prompts."""

from __future__ import annotations

from typing import Literal

from fedprompt.methods import Backbone, Batch, Method, State, Streams, Uploads, hyperparameter, register
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.lazy import Tensor, torch

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
    """The server generates each client's prompts from base prompts and a client descriptor by cross-attention.

    A client trains the generated prompts with a personal head, uploads the prompts and predicts with them. The server
    updates its generator towards the uploads. A held-out client uses the prompts of `newcomer` and the mean head.
    """

    personalised = True
    seen_with = "its last trained prompts, or generated ones, under its personal head"
    held_out_with = "the prompts of the mean descriptor (:base: the base prompts) under the mean of the clients' heads"
    personal_copies = ("prompt",)
    rebuilt = "pfedpg generates new prompts for each client every round"
    adapted = ("prompt", "head.weight", "head.bias")
    tokens: int = hyperparameter(10, "prompt tokens at the first layer", low=1)
    width: int = hyperparameter(64, "width of the generator's attention", low=1)
    server_lr: float = hyperparameter(0.1, "learning rate of the generator and the descriptors", low=0)
    newcomer: Literal["mean", "base"] = hyperparameter(
        "mean", "prompts of a held-out client: from the mean descriptor of trained clients, or the base prompts"
    )
    local_optimiser = "SGD 0.25, weight decay 1e-3 (paper)"
    deviations = (
        "implemented from the paper's equations, without official code; one vector per client is added to all prompts",
        "the generator follows the cohort's mean gradient at learning rate 0.1; the paper uses 0.001 and 100 rounds "
        "with all clients",
        "the paper has no held-out clients; `newcomer` defines their prompts",
        "not copied from unofficial code: a step away from the clients' prompts, and clients without generated prompts",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"prompt": vpt_uniform(vit, (self.tokens,), rng)}

    def local(self, vit: Backbone, rng: Streams) -> State:
        return linear_head(vit, rng)

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        """Base prompts, attention weights of the generator, a descriptor per client, and flags of trained clients."""

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
        """Prompts [tokens, D] for a descriptor [D] (equations 3 and 4)."""
        base = generator["base"]
        scores = descriptor @ generator["query"] @ (base @ generator["key"]).T / self.width**0.5
        return base + scores.softmax(-1) @ (base @ generator["value"]) @ generator["out"]

    def download(self, server: State, client: int | None) -> State:
        if client is None:
            return server
        return {**server, "prompt": self.generate(server, server["descriptors"][client])}

    def combine(self, server: State, uploads: Uploads) -> State:
        """One gradient step: P_n - P_updated of each client n, backpropagated through the generator."""
        names = [*GENERATOR, "descriptors"]
        leaves = {name: server[name].detach().clone().requires_grad_() for name in names}
        clients = list(uploads.clients)
        with torch.enable_grad():
            generated = torch.stack([self.generate(leaves, leaves["descriptors"][n]) for n in clients])
        gradients = torch.autograd.grad(generated, list(leaves.values()), generated.detach() - uploads.shared["prompt"])
        new = {}
        for name, gradient in zip(names, gradients, strict=True):
            share = 1 if name == "descriptors" else len(clients)  # only one client contributes to a descriptor
            new[name] = server[name] - self.server_lr / share * gradient
        trained = server["trained"].clone()
        trained[clients] = 1
        server = {**server, **new, "trained": trained}
        return {**server, "prompt": self.held_out_prompt(server)}

    def held_out_prompt(self, server: State) -> Tensor:
        """The prompts that held-out clients receive."""
        if self.newcomer == "base":
            return server["base"]
        return self.generate(server, server["trained"] @ server["descriptors"] / server["trained"].sum().clamp_min(1))

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return classify(batch, vit.encode(insert_after_cls(vit.embed(batch), batch.own(state["prompt"]))), state)
