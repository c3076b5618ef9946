"""FedTHE: the generic and the personal head mixed per test sample, without labels."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Phase, State, Streams, Uploads, hyperparameter, register
from fedprompt.methods.components.adam import adam_step
from fedprompt.methods.components.personal_model import GLOBAL
from fedprompt.methods.components.prompts import classify, linear_head
from fedprompt.methods.fedrod import balanced_cross_entropy, personal_logits
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import Tensor, functional, torch

PERSONAL = ("personal.weight", "personal.bias")


@register(
    "fedthe",
    paper="Jiang and Lin, Test-time robust personalization for federated learning, ICLR",
    url="https://arxiv.org/abs/2205.10920",
    year=2023,
    family="personal prompts",
)
class FedTHE(FedVPT):
    """Averages prompts and a generic head trained with balanced softmax; each client trains a personal head with CE.

    A client mixes the logits of both heads with a weight e per test sample. Adam minimises, over e alone,
    s H((1 - e) z_g + e z_p) + (1 - s) ((1 - e) |h - h_g| + e |h - h_p|): s is the cosine of both heads' class
    probabilities, H the entropy of the prediction, h the sample's feature, h_p the mean feature of the client's own
    training samples and h_g the mean of those of the last cohort. A client that never trained predicts with the generic
    head.
    """

    personalised = True
    seen_with = "averaged prompts; the averaged generic head and its personal head, mixed per sample"
    held_out_with = "averaged prompts and generic head"
    upload_kinds = {"descriptor": "feature sums"}
    gamma: float = hyperparameter(1.0, "exponent of the class counts in the balanced softmax; 0: plain CE", low=0)
    personal_epochs: int = hyperparameter(1, "local epochs of the personal head", low=1)
    steps: int = hyperparameter(20, "steps on a sample's mixing weight; 0: the mean of both heads", low=0)
    rate: float = hyperparameter(0.1, "learning rate of a sample's mixing weight", low=0)
    deviations = (
        "prompts on a frozen ViT take the place of the averaged body",
        "h is the feature of the sample itself; the official code (LINs-lab/FedTHE pcode/local_training/THE_worker.py) "
        "gives it weight 0.1 beside a moving average over the stream of test samples, so that predictions depend on "
        "their order; effect not measured",
        "every sample takes all steps; the official code stops once the gradient's norm over a batch is below 1e-5",
        "the learning rate of the mixing weight is fixed; the official code uses ten times the run's, 0.1 by default",
        "the personal head starts as the generic one and has a bias; the official code draws it and has no bias",
        "balanced softmax rules out absent classes; the official code adds one sample to every class",
        "h_p is computed under the model that the client is scored with; the official code stores the one of its last "
        "training, which is the same if all clients train in every round",
        "FedTHE+ also fine-tunes the network on augmented copies of each test sample; this is FedTHE without it",
    )

    @property
    def refuses_losses(self) -> str:
        return "fedthe adds the log class shares to its logits itself (fedthe:gamma=0 does not)" if self.gamma else ""

    def local(self, vit: Backbone, rng: Streams) -> State:
        return personal_copy(linear_head(vit, rng))

    def held_out_local(self, received: State, mean: State) -> State:
        return personal_copy(received)  # both heads are equal, so the mixture is the generic head

    def memory(self, vit: Backbone, rng: Streams) -> State:
        """h_g, zero before the first round."""
        return {"descriptor": torch.zeros(vit.dim)}

    def phases(self) -> tuple[Phase, ...]:
        """As in the official code, both start from the received model and the personal head reads its features."""
        return Phase(PERSONAL, epochs=self.personal_epochs, rewind=True), Phase(GLOBAL, rewind=True)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        z = self.feature(vit, batch, state)
        if batch.phase is not None and batch.phase.trains == PERSONAL:
            return batch.cross_entropy(personal_logits(batch, z, state))
        return balanced_cross_entropy(batch, classify(batch, z, state), self.gamma)

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """The client's mean feature under the received prompts, [K, D]."""
        share = batch.mask / batch.own(batch.counts.sum(1))
        z = self.feature(vit, batch, state) * share.unsqueeze(1)
        return {"descriptor": z.view(len(batch.counts), -1, z.shape[1]).sum(1)}

    def combine(self, server: State, uploads: Uploads) -> State:
        """Averages; h_g becomes the unweighted mean over the cohort, as in the official code."""
        return {
            **super().combine(server, uploads),
            "descriptor": uploads.statistics["descriptor"] / len(uploads.clients),
        }

    def datastore(self, vit: Backbone, batch: Batch, state: State) -> State:
        return {"remembered.feature": self.feature(vit, batch, state)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C]: the mixture of both heads for a client with stored features, else the generic head."""
        z = self.feature(vit, batch, state)
        generic = classify(batch, z, state)
        if "remembered" not in state:
            return generic
        own = personal_logits(batch, z, state)
        mask = state["remembered"].unsqueeze(2)
        mean = (state["remembered.feature"] * mask).sum(1) / mask.sum(1).clamp_min(1)  # h_p, [K, D]
        nearer = (z - batch.own(mean)).norm(dim=1) - (z - batch.own(state["descriptor"])).norm(dim=1)
        share = self.mixing_weight(generic.detach(), own.detach(), nearer.detach())
        batch.log("personal_share", share)
        return generic + share.unsqueeze(1) * (own - generic)

    def mixing_weight(self, generic: Tensor, own: Tensor, nearer: Tensor) -> Tensor:
        """The weight e [B] of the personal head after all steps, from 1/2.

        The official code optimises two values per sample under a softmax. Their gradients are opposite and Adam is odd
        in the gradient, so they stay at 1 + u and 1 - u, and e = sigmoid(2 u).

        Args:
            generic: Logits of the generic head, [B, C].
            own: Logits of the personal head, [B, C].
            nearer: |h - h_p| - |h - h_g|, [B].
        """
        agree = functional.cosine_similarity(generic.softmax(1), own.softmax(1), dim=1)
        u, m, v = torch.zeros(3, len(generic), device=generic.device)
        for step in range(1, self.steps + 1):
            share = (2 * u).sigmoid()
            slope = agree * entropy_slope(generic, own - generic, share) + (1 - agree) * nearer
            gradient = share * (1 - share) * slope
            direction, m, v = adam_step(gradient, m, v, step)
            u = u - self.rate * direction
        return (2 * u).sigmoid()


def entropy_slope(start: Tensor, direction: Tensor, share: Tensor) -> Tensor:
    """Derivative [B] of the entropy of softmax(start + share direction) by share; all logits [B, C]."""
    log_p = (start + share.unsqueeze(1) * direction).log_softmax(1)
    p = log_p.exp()
    entropy = -(p * log_p).sum(1, keepdim=True)
    return -(p * (log_p + entropy) * direction).sum(1)


def personal_copy(state: State) -> State:
    """The generic head under the names of the personal one."""
    return {"personal.weight": state["head.weight"], "personal.bias": state["head.bias"]}
