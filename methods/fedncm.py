"""FedNCM: class means as a head: training-free."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, register
from fedprompt.methods.components.closed_form_head import ClosedFormHead, class_sums, unseen_bias
from fedprompt.methods.lazy import functional


@register(
    "fedncm",
    paper="Legate et al., Guiding the last layer in federated learning with pre-trained models, NeurIPS",
    url="https://arxiv.org/abs/2306.03937",
    year=2023,
    family="training-free",
)
class FedNCM(ClosedFormHead):
    """Nearest class mean on the frozen cls feature: each client uploads its class sums and counts once."""

    class_rows = ("sum", "count")
    local_optimiser = "none: nothing is trained"
    deviations = ("without the paper's fine-tuning stage, which starts from this head",)

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        return class_sums(vit, batch)

    def apply_statistics(self, server: State, statistics: State) -> State:
        """w_c = m_c / |m_c| for the pooled mean m_c (section 4); unseen classes are never predicted."""
        mean = statistics["sum"] / statistics["count"].clamp_min(1)
        seen = statistics["count"].squeeze(1) > 0
        return {"head.weight": functional.normalize(mean, dim=1), "head.bias": unseen_bias(seen)}
