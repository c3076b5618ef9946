"""Posterior: PEP-FedPT's mixing weights as a classifier, to show how much the prompts add to them."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, MethodError, Phase, State, Streams, hyperparameter, register
from fedprompt.methods.components import prototypes
from fedprompt.methods.components.prompt_mixing import Prototypes, similarities
from fedprompt.methods.lazy import Tensor, torch
from fedprompt.methods.pep_fedpt import insertion_layer


@register(
    "posterior",
    paper="no paper: the mixing weights of PEP-FedPT, arXiv 2510.25372",
    url="https://arxiv.org/abs/2510.25372",
    year=2026,
    family="trivial",
)
class Posterior(Method):
    """Client prior times prototype similarity, arg max. The prototypes are class means of the frozen cls token.

    The cls token is that entering PEP-FedPT's layer J, without prompts. Every client uploads its class sums once.
    """

    shares = False
    initial_statistics = True
    class_rows = prototypes.SUMS
    seen_with = held_out_with = "global class means of the frozen cls token, times its class prior"
    layer: int | None = hyperparameter(None, "layer whose cls token is read; None: PEP-FedPT's default", low=2)
    tau: float = hyperparameter(0.1, "temperature of the cosine similarities", low=1e-6)
    local_optimiser = "none: nothing is trained"
    deviations = ("PEP-FedPT reads the cls token behind its shared prompt; here no prompt is inserted",)

    @property
    def uses_prior(self) -> bool:
        return True

    def check(self, vit: Backbone) -> None:
        if self.layer is not None and self.layer > vit.depth:
            raise MethodError(f"{self.name}.layer={self.layer} is out of range: this backbone takes 2 to {vit.depth}.")

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {**prototypes.initial(vit), "centre": torch.zeros(vit.dim)}

    def feature(self, vit: Backbone, batch: Batch) -> Tensor:
        """The frozen cls token [B, D] entering layer J."""
        return vit.features(batch, self.layer or insertion_layer(vit))

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        return prototypes.sums(batch, self.feature(vit, batch))

    def apply_statistics(self, server: State, statistics: State) -> State:
        """The pooled class means, and their mean over the known classes, which centres the cosine."""
        total, count = (statistics[name] for name in prototypes.SUMS)
        known, means = (count > 0).squeeze(1).to(total.dtype), total / count.clamp_min(1)
        return {"prototypes": means, "known": known, "centre": known @ means / known.sum().clamp_min(1)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Log prior plus similarity; classes without a prototype are never predicted."""
        known = Prototypes(state["prototypes"], state["known"], state["centre"])
        scores = similarities(batch, self.feature(vit, batch), known, "centred-cosine", self.tau)
        unknown = torch.where(state["known"] > 0, 0.0, -torch.inf)
        return scores + batch.own(batch.prior.log() + unknown)
