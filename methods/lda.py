"""Linear discriminant analysis on frozen features, with each client's own prior: training-free."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, Streams, hyperparameter, register
from fedprompt.methods.components import discriminant
from fedprompt.methods.components.closed_form_head import ClosedFormHead, unseen_bias
from fedprompt.methods.lazy import Tensor, torch


@register(
    "lda",
    paper="Guan et al., Capture global feature statistics for one-shot federated learning (FedCGS), AAAI",
    url="https://arxiv.org/abs/2503.06962",
    year=2025,
    family="training-free",
    variants={"uniform": {"prior": False}},
)
class LDA(ClosedFormHead):
    """Gaussian classes with one covariance: w_c = S^-1 m_c, b_c = -1/2 m_c^T S^-1 m_c plus the client's log prior.

    Each client uploads class counts, class sums and the second moment of the frozen cls feature once, in double
    precision. The logits are log-odds, so this is PEP-FedPT's posterior, prior times likelihood, in closed form:
    `posterior` with the Mahalanobis distance instead of cosine similarity. Classes without samples at the client,
    or at all clients, are excluded; a client without labels has a uniform prior. The prior is part of the logits, so
    the prior-corrected score of `lda` uses it twice. `lda:uniform` leaves it out: corrected at temperature 1, it is
    `lda`.
    A covariance that is singular after shrinkage is shrunk more; `shrinkage` in the record is the share used.
    """

    version = 1
    seen_with = held_out_with = "a linear discriminant of frozen features, with its class prior"
    class_rows = discriminant.CLASS_SUMS
    shrinkage: float = hyperparameter(0.01, "share of the scaled identity in the covariance", low=0, high=1)
    prior: bool = hyperparameter(True, "whether the client's log prior is added to the logits")
    deviations = (
        "within-class covariance; the official code (Yuqin-G/FedCGS, main_fedcgs.py) uses the total covariance, which "
        "includes the spread of the class means; effect not measured",
        "shrinks the covariance by a share of the scaled identity; the official code adds gamma I with gamma = 0",
        "the prior is the client's; the official code uses the shares of the classes in all clients' data",
        "without the paper's extension to personal models, for which clients download the statistics",
    )

    @property
    def uses_prior(self) -> bool:
        return self.prior

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {**super().memory(vit, rng), "shrinkage": torch.zeros(())}

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        return discriminant.sums(batch, vit.features(batch))

    def apply_statistics(self, server: State, statistics: State) -> State:
        """The head of the pooled class means and covariance; unseen classes are never predicted."""
        means, covariance, known = discriminant.estimates(statistics)
        share = discriminant.least_share(covariance, self.shrinkage)
        weight, bias = discriminant.head(means, discriminant.shrunk(covariance, share))
        bias = bias + unseen_bias(known)
        return {"head.weight": weight.float(), "head.bias": bias.float(), "shrinkage": torch.tensor(share)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        batch.log("shrinkage", batch.own(state["shrinkage"]))
        scores = super().logits(vit, batch, state)
        return scores + batch.own(batch.prior.log()) if self.prior else scores
