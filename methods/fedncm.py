"""Class means as a head: nothing is trained."""

from __future__ import annotations

from fedprompt.methods.base import Backbone, Batch, State
from fedprompt.methods.components.closed_form_head import ClosedForm, class_means, unseen
from fedprompt.methods.lazy import functional
from fedprompt.methods.registry import register


@register(
    "fedncm",
    paper="Legate et al., Guiding the last layer in federated learning with pre-trained models, NeurIPS",
    year=2023,
    family="training-free",
)
class FedNCM(ClosedForm):
    """Nearest class mean on the frozen cls feature: each client sends its class sums and counts once."""

    class_rows = ("sum", "count")
    deviations = ("without the paper's fine-tuning stage, which starts from this head",)

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        return class_means(vit, batch)

    def apply_statistics(self, server: State, statistics: State) -> State:
        """w_c = m_c / |m_c| of the pooled mean m_c (section 4); a class that nobody holds is never predicted."""
        mean = statistics["sum"] / statistics["count"].clamp_min(1)
        return {"head.weight": functional.normalize(mean, dim=1), "unseen": unseen(statistics["count"].squeeze(1) > 0)}
