"""Averaged prompts, and at each client the nearest of its own samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, State, hyperparameter
from fedprompt.methods.components.prompts import classify
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import functional, torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor

GRID = tuple(step / 10 for step in range(11))
"""Candidates for lam; of those that are right equally often, the first is taken."""


@register(
    "knn-per",
    paper="Marfoq et al., Personalized federated learning through local memorization, ICML",
    year=2022,
    family="personal prompts",
)
class KNNPer(FedVPT):
    """FedVPT; a seen client mixes its class probabilities with a vote of the nearest of its own training samples.

    Nothing more is trained or sent. Where clients have validation samples each takes the share of the vote that is
    right most often there, else `lam`. A held-out client predicts with the averaged model, and apart from that with its
    own samples too.
    """

    personalised = True
    adapted = ()
    seen_with = "the averaged model, mixed with a vote of their own nearest samples"
    held_out_with = "the averaged model"
    lam: float = hyperparameter(0.5, "share of the vote, for clients without validation samples", low=0, high=1)
    neighbours: int = hyperparameter(10, "nearest samples that vote", low=1)
    scale: float = hyperparameter(1.0, "width of the kernel exp(-|z - z'|^2 / (D scale))", low=1e-6)
    datastore_size: int | None = hyperparameter(
        None, "samples that a client remembers, drawn at random; None: all", low=1
    )
    deviations = (
        "lam is chosen on validation samples, as the paper says; the official evaluation sweeps it on test data",
        "where lam was chosen on them, the accuracy on validation samples is that of the choice: a little too high",
        "exact distances; the official code searches an index",
        "not repeated from a peer: raw logits mixed with probabilities, and a capacity counted in batches",
    )

    def datastore(self, vit: Backbone, batch: Batch, state: State) -> State:
        return {"remembered.feature": self.feature(vit, batch, state), "remembered.label": batch.labels}

    def validation_statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """How often each candidate of `GRID` is right, and how often there was a sample."""
        z = self.feature(vit, batch, state)
        model, vote = classify(batch, z, state).softmax(1), self.vote(batch, z, state)
        right = [((1 - lam) * model + lam * vote).argmax(1) == batch.labels for lam in GRID]
        counted = torch.stack([*right, batch.mask], 1) & batch.mask.unsqueeze(1)
        return {"rehearsed": counted.view(len(batch.counts), -1, len(GRID) + 1).sum(1)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Logs of the mixed probabilities, to which a prior may be added; where nothing is mixed, as the model's."""
        z = self.feature(vit, batch, state)
        logits = classify(batch, z, state)
        if "remembered" not in state:
            return logits
        share = batch.own(self.vote_share(state)).unsqueeze(1)
        batch.log("knn_share", share.squeeze(1))
        mixed = (1 - share) * logits.softmax(1) + share * self.vote(batch, z, state)
        return torch.where(share > 0, mixed.log(), logits)

    def vote_share(self, state: State) -> Tensor:
        """The weight [K] of each client's vote: 0 without samples that could."""
        share = torch.full_like(state["remembered"][:, 0], self.lam, dtype=torch.float32)
        if "rehearsed" in state:
            *right, count = state["rehearsed"].unbind(1)
            chosen = torch.tensor(GRID, device=share.device)[torch.stack(right, 1).argmax(1)]
            share = torch.where(count > 0, chosen, share)
        return share * state["remembered"].any(1)

    def vote(self, batch: Batch, z: Tensor, state: State) -> Tensor:
        """Class probabilities [B, C] by the kernel over the nearest remembered samples (its equations 5 and 6).

        Softmax is the kernel, normalised, and does not underflow where all are far.
        """
        known, mask = state["remembered.feature"], state["remembered"]
        clients, samples = mask.shape
        distances = torch.cdist(z.view(clients, -1, z.shape[1]), known, compute_mode="donot_use_mm_for_euclid_dist")
        far = distances.square().masked_fill(~mask.unsqueeze(1), torch.inf)  # [K, B / K, N]
        nearest = far.topk(min(self.neighbours, samples), largest=False)
        weights = (-nearest.values / (z.shape[1] * self.scale)).softmax(2).nan_to_num()  # nan: a client without samples
        labels = state["remembered.label"].unsqueeze(1).expand_as(far).gather(2, nearest.indices)
        return (functional.one_hot(labels, batch.prior.shape[1]) * weights.unsqueeze(3)).sum(2).flatten(0, 1)
