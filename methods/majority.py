"""Majority: a client's most frequent training class, as a floor for every other method."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, Phase, State, register
from fedprompt.methods.lazy import Tensor


@register("majority", paper="no paper: a constant predictor", year=2026, family="trivial")
class Majority(Method):
    """Predicts each client's most frequent training class for all of its samples: reads no image and trains nothing.

    Under label skew this is a strong floor. A method that scores below it has learned less than the label counts say.
    """

    shares = False
    seen_with = held_out_with = "its most frequent training class"
    local_optimiser = "none: nothing is trained"

    @property
    def uses_prior(self) -> bool:
        return True

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return batch.own(batch.prior.log())
