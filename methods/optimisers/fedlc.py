"""FedLC: margins by class counts in the training loss."""

from __future__ import annotations

from fedprompt.methods import Batch, LossPlugin, hyperparameter, register_optimiser
from fedprompt.methods.lazy import Tensor, torch


@register_optimiser(
    "fedlc",
    paper="Zhang et al., Federated learning with label distribution skew via logits calibration, ICML",
    url="https://arxiv.org/abs/2209.00189",
    year=2022,
)
class FedLC(LossPlugin):
    """Subtracts tau n_c^(-1/4) from the logit of class c in the training loss; n_c counts the client's own samples.

    So the loss requires a larger margin of the true class where the client has few samples of it. Classes that the
    client does not have are excluded from its softmax (n_c = 0: an infinite margin).
    """

    tau: float = hyperparameter(1.0, "weight of the margins; 0: plain cross-entropy of all classes", low=0)

    deviations = (
        "the softmax includes the true class; the paper's loss sums over the other classes only, with which FL-bench "
        "(src/server/fedlc.py) reports that training collapses",
        "absent classes are excluded exactly; FL-bench counts them as 1e-8 samples, a margin of 100 tau",
        "not copied from PFLlib (system/flcore/servers/serverlc.py): margins from the counts of all clients together",
        "tau is 1, as in FL-bench, and not tuned",
    )

    def adjust_logits(self, batch: Batch, logits: Tensor) -> Tensor:
        if not self.tau:
            return logits
        return logits - batch.own(self.tau * torch.pow(batch.counts, -0.25))  # 0^(-1/4) is infinite
