"""pFedPG: the server generates personal prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fedprompt.methods import Backbone, Batch, Method, State, Streams, Uploads, hyperparameter, register
from fedprompt.methods.components.adam import adam_step
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.lazy import Tensor, functional, torch

GENERATOR = ("base", "query", "key", "value", "out")
LEARNED = (*GENERATOR, "descriptors")


@register(
    "pfedpg",
    paper="Yang et al., Efficient model personalization in federated learning via client-specific prompt generation, "
    "ICCV",
    url="https://arxiv.org/abs/2308.15367",
    year=2023,
    family="personal prompts",
    variants={"base": {"newcomer": "base"}},
)
class PFedPG(Method):
    """The server generates each client's prompts from base prompts and a client descriptor by cross-attention.

    A client trains the generated prompts with a personal head, uploads the prompts and predicts with them. The server
    updates generator and descriptors towards the uploads with one step of Adam per round. A held-out client uses the
    prompts of `newcomer` and the mean head. Each round logs the mean cosine between the prompts that are generated for
    two clients of the cohort, and between a client's generated prompts and its first ones.
    """

    personalised = True
    seen_with = "its last trained prompts, or generated ones, under its personal head"
    held_out_with = "the prompts of the mean descriptor (:base: the base prompts) under the mean of the clients' heads"
    personal_copies = ("prompt",)
    rebuilt = "pfedpg generates new prompts for each client every round"
    adapted = ("prompt", "head.weight", "head.bias")
    tokens: int = hyperparameter(10, "prompt tokens at the first layer", low=1)
    width: int = hyperparameter(64, "width of the generator's attention", low=1)
    version = 2
    server_lr: float = hyperparameter(0.001, "learning rate of Adam for the generator and the descriptors", low=0)
    newcomer: Literal["mean", "base"] = hyperparameter(
        "mean", "prompts of a held-out client: from the mean descriptor of trained clients, or the base prompts"
    )
    local_optimiser = "SGD 0.25, weight decay 1e-3 (paper)"
    deviations = (
        "implemented from the paper's equations, without official code; one vector per client is added to all prompts",
        "the server uses Adam at learning rate 0.001, as in an unofficial port (PeiYauWeng/PFPT util/train_eval.py); "
        "the paper names the learning rate and no optimiser",
        "after 8 rounds generated prompts have a cosine of 0.96 with their start and of 0.999 with each other: the "
        "server learns mostly what clients have in common (embedded default on digits, alpha 0.05 and 0.5, seeds 0-2); "
        "at alpha 0.05 and seed 0 the first is 0.94, and 0.99 under plain SGD at 0.1",
        "one server step per round, along the cohort's mean gradient; the port trains one client per round and takes "
        "1200 steps",
        "one Adam for generator and descriptors, as in the port: a descriptor also moves by its momentum in rounds "
        "without its client, and the bias correction counts all rounds",
        "clients use the run's SGD and a linear head; the port uses Adam and a head of two layers",
        "the paper has no held-out clients; `newcomer` defines their prompts",
        "not copied from MSungK/pFedPG: a step away from the clients' prompts, and clients without generated prompts",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"prompt": vpt_uniform(vit, (self.tokens,), rng)}

    def local(self, vit: Backbone, rng: Streams) -> State:
        return linear_head(vit, rng)

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        """What the server learns: base prompts, attention weights and a descriptor per client. What Adam keeps.

        Also flags of trained clients, and the initial tensors (`start`), to measure how far prompts have moved.
        """

        def normal(purpose: str, rows: int, columns: int, scale: float) -> Tensor:
            return torch.empty(rows, columns).normal_(0, scale, generator=rng(purpose))

        inner, outer = vit.dim**-0.5, self.width**-0.5
        learned = {
            "base": vpt_uniform(vit, (self.tokens,), rng),
            "query": normal("query", vit.dim, self.width, inner),
            "key": normal("key", vit.dim, self.width, inner),
            "value": normal("value", vit.dim, self.width, inner),
            "out": normal("out", self.width, vit.dim, outer),
            "descriptors": normal("descriptors", clients, vit.dim, 1.0),
        }
        moments = {f"{m}.{name}": torch.zeros_like(value) for m in ("m", "v") for name, value in learned.items()}
        start = {f"start.{name}": value.clone() for name, value in learned.items()}
        return {**learned, **moments, **start, "steps": torch.zeros(()), "trained": torch.zeros(clients)}

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
        """One step of Adam: P_n - P_updated of each client n, backpropagated through the generator; mean over n."""
        leaves = {name: server[name].detach().clone().requires_grad_() for name in LEARNED}
        with torch.enable_grad():
            generated = self.generate_all(leaves, uploads.clients)
        errors = (generated.detach() - uploads.shared["prompt"]) / len(generated)
        gradients = torch.autograd.grad(generated, list(leaves.values()), errors)
        trained = server["trained"].clone()
        trained[list(uploads.clients)] = 1
        server = {**server, **self.adam(server, dict(zip(LEARNED, gradients, strict=True))), "trained": trained}
        self.log_spread(server, uploads)
        return {**server, "prompt": self.held_out_prompt(server)}

    def generate_all(self, generator: State, clients: Sequence[int]) -> Tensor:
        """The prompts [K, tokens, D] of these clients."""
        return torch.stack([self.generate(generator, generator["descriptors"][n]) for n in clients])

    def adam(self, server: State, gradients: State) -> State:
        """The learned tensors, their moments and the number of steps after a step."""
        steps = server["steps"] + 1
        new = {"steps": steps}
        for name, gradient in gradients.items():
            moments = server[f"m.{name}"], server[f"v.{name}"]
            direction, new[f"m.{name}"], new[f"v.{name}"] = adam_step(gradient, *moments, steps)
            new[name] = server[name] - self.server_lr * direction
        return new

    def log_spread(self, server: State, uploads: Uploads) -> None:
        """Logs how much the cohort's generated prompts differ from each other and from their start.

        The mean pairwise cosine of n unit vectors follows from the squared norm of their sum.
        """
        start = {name: server[f"start.{name}"] for name in LEARNED}
        now, first = (
            functional.normalize(self.generate_all(generator, uploads.clients).flatten(1), dim=1)
            for generator in (server, start)
        )
        number = len(now)
        uploads.log("generated_cosine_with_start", float((now * first).sum(1).mean()))
        if number > 1:
            pairs = (now.sum(0).square().sum() - number) / (number * (number - 1))
            uploads.log("generated_cosine_between_clients", float(pairs))

    def held_out_prompt(self, server: State) -> Tensor:
        """The prompts that held-out clients receive."""
        if self.newcomer == "base":
            return server["base"]
        return self.generate(server, server["trained"] @ server["descriptors"] / server["trained"].sum().clamp_min(1))

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return classify(batch, vit.encode(insert_after_cls(vit.embed(batch), batch.own(state["prompt"]))), state)
