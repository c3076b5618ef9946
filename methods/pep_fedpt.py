"""PEP-FedPT: class prompts mixed per sample by class prototypes and client class priors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Method, State, Streams, hyperparameter
from fedprompt.methods.components.prompt_mixing import Mixing, Prototypes, Similarity, soft_weights
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.components.prototypes import gathered
from fedprompt.methods.errors import MethodError
from fedprompt.methods.lazy import torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "pep-fedpt",
    paper="Yashwanth et al., Prompt estimation from prototypes, TMLR (arXiv 2510.25372)",
    year=2026,
    family="global prompts",
    variants={
        "prior": {"mixing": "prior"},
        "prototype": {"mixing": "prototype"},
        "hard": {"mixing": "hard"},
        "uniform": {"mixing": "uniform"},
        "oracle": {"mixing": "oracle"},
        "cosine": {"similarity": "cosine"},
        "gaussian": {"similarity": "gaussian"},
        "no-shared": {"shared_tokens": 0},
    },
)
class PEPFedPT(Method):
    """A shared prompt at the first layer, and before layer J a prompt estimated per sample from class prompts.

    The weights of the class prompts are the posterior of the sample's class under its client's class prior
    and the similarity of its cls token to global class prototypes. Nothing personal is trained or stored.
    """

    seen_with = held_out_with = "the averaged model, class prompts mixed for each sample as `mixing` says"
    shared_tokens: int = hyperparameter(10, "tokens of the shared prompt (n_S)", low=0)
    class_tokens: int = hyperparameter(1, "tokens of each class prompt (n_C)", low=1)
    layer: int | None = hyperparameter(None, "layer J that the mixed prompt enters (none: round(L/2) + 1)", low=2)
    mixing: Mixing = hyperparameter("posterior", "rule for the weights: prior x prototype, or an ablation of it")
    similarity: Similarity = hyperparameter("centred-cosine", "how a cls token is compared with prototypes")
    tau: float = hyperparameter(0.1, "temperature of the cosine similarities", low=1e-6)
    beta: float = hyperparameter(0.5, "share of the old prototype kept when a round's is folded in", low=0, high=1)
    weights_gradient: bool = hyperparameter(False, "let the gradient flow through the weights")
    first_prototypes: bool = hyperparameter(True, "one pass over the training clients before round 1")

    version = 2
    no_decay = ("class_prompts",)  # rows of absent classes have no gradient, and must not shrink either
    deviations = (
        "reconstructed from the abstract and its lineage: no official code is public",
        "insertion layer, similarity, temperature, momentum and first prototypes are our choices (see the fields)",
        "a class without a prototype gets no weight, unless none of the client's classes has one",
    )

    @property
    def uses_prior(self) -> bool:
        return self.mixing in ("posterior", "prior", "hard")

    @property
    def class_rows(self) -> tuple[str, ...]:
        sums = ("prototype.sum", "prototype.count", "prototype.square")
        # A class that a client does not hold has no prior there, so these rules give it no weight.
        return (*sums, "class_prompts", "prototypes", "known") if self.uses_prior else sums

    @property
    def uses_prototypes(self) -> bool:
        """Whether the weights read prototypes; if not, none are gathered and none travel."""
        return self.mixing in ("posterior", "prototype", "hard")

    @property
    def initial_statistics(self) -> bool:
        return self.first_prototypes and self.uses_prototypes

    def check(self, vit: Backbone) -> None:
        if not 2 <= self.insertion(vit) <= vit.depth:
            raise MethodError(f"{self.name}.layer={self.layer} is out of range: this backbone takes 2 to {vit.depth}.")

    def insertion(self, vit: Backbone) -> int:
        """Layer J, counted from 1."""
        return self.layer if self.layer is not None else round(vit.depth / 2) + 1

    def shared(self, vit: Backbone, rng: Streams) -> State:
        state = {"class_prompts": vpt_uniform(vit, (vit.classes, self.class_tokens), rng, "class prompts")}
        if self.shared_tokens:
            state["prompt"] = vpt_uniform(vit, (self.shared_tokens,), rng)
        return {**state, **linear_head(vit, rng)}

    def memory(self, vit: Backbone, rng: Streams) -> State:
        if not self.uses_prototypes:
            return {}
        state = {"prototypes": torch.zeros(vit.classes, vit.dim), "known": torch.zeros(vit.classes)}
        extra = {"gaussian": {"variance": torch.ones(())}, "centred-cosine": {"centre": torch.zeros(vit.dim)}}
        return {**state, **extra.get(self.similarity, {})}

    def tokens(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Tokens entering layer J, the shared prompt among them (steps 1 and 2); cls is the first."""
        if not self.shared_tokens:
            return vit.frozen(batch, self.insertion(vit))
        x = insert_after_cls(vit.embed(batch), batch.own(state["prompt"]))
        return vit.layers(x, 1, self.insertion(vit) - 1)

    def weights(self, batch: Batch, z: Tensor, state: State) -> Tensor:
        """Soft weights of the class prompts (step 3): [B, M] over the classes held where the rule reads the prior,
        else [B, C]."""
        return soft_weights(
            batch,
            z if self.weights_gradient else z.detach(),
            batch.held(batch.prior) if self.uses_prior else torch.full_like(batch.prior, 1 / batch.prior.shape[1]),
            Prototypes.of(state),
            mixing=self.mixing,
            similarity=self.similarity,
            tau=self.tau,
        )

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        x = self.tokens(vit, batch, state)
        weights = self.weights(batch, x[:, 0], state)
        mixed = batch.matmul(weights, state["class_prompts"].flatten(2))  # step 4
        x = insert_after_cls(x, mixed.unflatten(1, (self.class_tokens, vit.dim)))  # step 5
        self.log_weights(batch, weights.detach())
        return classify(batch, vit.encode(x, first=self.insertion(vit)), state)

    def log_weights(self, batch: Batch, weights: Tensor) -> None:
        """Logs the weights' entropy (nats), whether their arg max, and the prior's, is the true class, and of a
        prediction the weights themselves, class by class."""
        best = weights.argmax(1)
        if self.uses_prior:
            classes = batch.own(batch.classes)
            best = classes.gather(1, best.unsqueeze(1)).squeeze(1)
        batch.log("mix_entropy", torch.special.entr(weights).sum(1))
        batch.log("mix_accuracy", (best == batch.labels).float())
        batch.log("prior_accuracy", (batch.own(batch.prior).argmax(1) == batch.labels).float())
        if batch.phase is None:  # in training nobody reads them
            if self.uses_prior:
                # Added, not set: past the classes that a client holds any id may stand, and its weight is zero.
                weights = weights.new_zeros(len(weights), batch.prior.shape[1]).scatter_add_(1, classes, weights)
            batch.log_by_class("mix_weights", weights)

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Sums, counts and, for the Gaussian, squares of the cls token entering layer J, by class and client."""
        if not self.uses_prototypes:
            return {}
        layer = self.insertion(vit)
        z = self.tokens(vit, batch, state)[:, 0] if self.shared_tokens else vit.features(batch, layer)
        sums = gathered(batch, z)
        if self.similarity == "gaussian":
            sums["prototype.square"] = batch.class_sums(z.square().sum(1, keepdim=True))
        return sums

    def apply_statistics(self, server: State, statistics: State) -> State:
        """mu_c <- beta mu_c + (1 - beta) mu_c of the round, for the classes seen; a first sight sets it."""
        total, count = statistics["prototype.sum"], statistics["prototype.count"]
        seen = count > 0
        fresh = total / count.clamp_min(1)
        keep = self.beta * server["known"].unsqueeze(1)
        blended = keep * server["prototypes"] + (1 - keep) * fresh
        new = {
            "prototypes": torch.where(seen, blended, server["prototypes"]),
            "known": torch.maximum(server["known"], seen.squeeze(1).to(server["known"].dtype)),
        }
        if self.similarity == "centred-cosine":
            new["centre"] = (new["known"] @ new["prototypes"]) / new["known"].sum().clamp_min(1)
        if self.similarity == "gaussian":
            # pooled within-class variance per dimension: sum |z|^2 - n |mean|^2 over all classes
            within = statistics["prototype.square"] - count * fresh.square().sum(1, keepdim=True)
            spread = within.sum() / (count.sum() * fresh.shape[1])
            kept = self.beta if bool(server["known"].any()) else 0.0
            new["variance"] = kept * server["variance"] + (1 - kept) * spread
        return new
