"""Class means as a head: nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.base import Backbone, Batch, Method, Phase, State, Streams
from methods.lazy import functional, torch
from methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "fedncm",
    paper="Legate et al., Guiding the last layer in federated learning with pre-trained models, NeurIPS",
    year=2023,
    family="training-free",
)
class FedNCM(Method):
    """Nearest class mean on the frozen cls feature: each client sends its class sums and counts once."""

    initial_statistics = True
    class_rows = ("sum", "count")
    deviations = ("without the paper's fine-tuning stage, which starts from this head",)

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {"head.weight": torch.zeros(vit.classes, vit.dim), "unseen": torch.zeros(vit.classes)}

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        z = vit.features(batch)
        return {"sum": batch.class_sums(z), "count": batch.class_sums(torch.ones_like(z[:, :1]))}

    def fold(self, server: State, statistics: State) -> State:
        """w_c = m_c / |m_c| of the pooled mean m_c (section 4); a class that nobody holds is never predicted."""
        mean = statistics["sum"] / statistics["count"].clamp_min(1)
        unseen = torch.where(statistics["count"].squeeze(1) > 0, 0.0, -torch.inf)
        return {"head.weight": functional.normalize(mean, dim=1), "unseen": unseen}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return batch.linear(vit.features(batch), state["head.weight"], state["unseen"])
