"""pFedMe: personal models at the Moreau envelope of the averaged one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Phase, State, Uploads, hyperparameter
from fedprompt.methods.components.personal_model import GLOBAL, PERSONAL, TwoModels, squared_distance
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "pfedme",
    paper="T. Dinh et al., Personalized federated learning with Moreau envelopes, NeurIPS",
    year=2020,
    family="personal prompts",
)
class PFedMe(TwoModels):
    """On each batch a client's own prompts and head theta take K steps on CE + lambda/2 |theta - w_i|^2; then its copy
    w_i of what it received moves towards theta by eta lambda of the way. The server goes beta of the way to their mean.
    """

    strength: float = hyperparameter(15.0, "weight lambda of the distance between theta and w_i", low=0)
    inner_steps: int = hyperparameter(5, "steps K of theta on a batch", low=1)
    eta: float = hyperparameter(0.05, "learning rate of w_i", low=0)
    beta: float = hyperparameter(1.0, "share of the way to the clients' mean that the server goes", low=0)
    refuses_optimisers = "pfedme moves its averaged model by settling, not by steps that a plug-in could change"
    seen_with = "its personal prompt and head (theta)"
    held_out_with = "the averaged prompt and head (w)"
    deviations = (
        "on prompts and head of a frozen ViT; the paper personalises whole networks",
        "theta takes the run's SGD with its momentum, lambda 15 and K 5 as in the official code; the paper solves the "
        "inner problem to an accuracy, and the official code steps without momentum",
        "theta starts a round where the client left it, and in the official code at w: an exact solution would not "
        "depend on it",
        "eta is 0.05, as the run's own rate is by default; the official code's is lower, over more rounds",
        "not repeated from the official code: all clients train in each round though only the sampled are averaged, "
        "and a local epoch is one batch",
    )

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(PERSONAL, repeats=self.inner_steps),)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return super().loss(vit, batch, state) + batch.own(self.strength / 2 * squared_distance(state))

    def after_batch(self, state: State) -> State:
        share = self.eta * self.strength
        return {w: state[w] - share * (state[w] - state[own]) for w, own in zip(GLOBAL, PERSONAL, strict=True)}

    def combine(self, server: State, uploads: Uploads) -> State:
        averaged = super().combine(server, uploads)
        return {**averaged, **{w: (1 - self.beta) * server[w] + self.beta * averaged[w] for w in GLOBAL}}
