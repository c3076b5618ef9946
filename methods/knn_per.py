"""kNN-Per: averaged prompts, mixed with a nearest-neighbour vote among each client's own samples."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, hyperparameter, register
from fedprompt.methods.components.prompts import classify
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import Tensor, functional, torch

GRID = tuple(step / 10 for step in range(11))


@register(
    "knn-per",
    paper="Marfoq et al., Personalized federated learning through local memorization, ICML",
    url="https://arxiv.org/abs/2111.09360",
    year=2022,
    family="personal prompts",
    variants={"per-client": {"per_client": True}},
)
class KNNPer(FedVPT):
    """FedVPT; a seen client mixes its class probabilities with a vote of its nearest own training samples.

    Training and traffic are those of FedVPT. The weight of the vote is `lam` for all clients. It can be tuned like any
    other hyperparameter, as in `bench tune --grid knn-per.lam=0,0.25,0.5,0.75,1`; a sweep then uses the tuned value.
    With `per_client`, a client that has validation samples selects the weight with the best validation accuracy
    instead. A held-out client has a vote of its own samples in its personalised score only. The record contains the
    weight that each client used (`test_knn_share`).
    """

    personalised = True
    seen_with = "the averaged model and a vote of its own training samples"
    held_out_with = "the averaged model"
    version = 3
    lam: float = hyperparameter(0.5, "weight of the vote", low=0, high=1)
    per_client: bool = hyperparameter(
        False, "clients with validation samples select the weight, from lam and 0, 0.1, ..., 1; ties go nearest to lam"
    )
    neighbours: int = hyperparameter(10, "nearest samples that vote", low=1)
    scale: float = hyperparameter(1.0, "width of the kernel exp(-|z - z'|^2 / (D scale))", low=1e-6)
    capacity: int | None = hyperparameter(None, "samples in a client's datastore, drawn at random; None: all", low=1)
    local_optimiser = "SGD 0.03 (omarfoq/knn-per, paper_experiments/cifar10/train_base_model.sh)"
    deviations = (
        "by default one lam for all clients, so that a value tuned by `bench tune`, whose validation samples a sweep "
        "does not have, is the one that sweeps use; the official code (omarfoq/knn-per) sweeps it on test data",
        "with `per_client`, validation accuracy is slightly optimistic, because lam is selected on the same samples",
        "exact nearest neighbours; the official code uses an approximate index",
        "the temperature of the prior correction is fitted on samples that are in the client's own datastore",
        "not copied from another framework: raw logits mixed with probabilities, and a capacity counted in batches",
    )

    @property
    def datastore_size(self) -> int | None:
        return self.capacity

    def datastore(self, vit: Backbone, batch: Batch, state: State) -> State:
        return {"remembered.feature": self.feature(vit, batch, state), "remembered.label": batch.labels}

    @property
    def candidates(self) -> tuple[float, ...]:
        """Weights that a client selects from: `lam`, then the others by their distance to it."""
        return tuple(sorted({self.lam, *GRID}, key=lambda weight: (round(abs(weight - self.lam), 9), weight)))

    def validation_statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Number of correct predictions per candidate, and number of samples: [K, candidates + 1]."""
        if not self.per_client:
            return {}
        z = self.feature(vit, batch, state)
        model, vote = classify(batch, z, state).softmax(1), self.vote(batch, z, state)
        correct = [((1 - lam) * model + lam * vote).argmax(1) == batch.labels for lam in self.candidates]
        counted = torch.stack([*correct, batch.mask], 1) & batch.mask.unsqueeze(1)
        return {"rehearsed": counted.view(len(batch.counts), -1, len(self.candidates) + 1).sum(1)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Logs of the mixed probabilities; the logits of the model for clients without a vote."""
        z = self.feature(vit, batch, state)
        logits = classify(batch, z, state)
        if "remembered" not in state:
            return logits
        share = batch.own(self.vote_share(state)).unsqueeze(1)
        batch.log("knn_share", share.squeeze(1))
        mixed = (1 - share) * logits.softmax(1) + share * self.vote(batch, z, state)
        return torch.where(share > 0, mixed.log(), logits)

    def vote_share(self, state: State) -> Tensor:
        """The weight [K] of each client's vote; 0 without stored samples."""
        share = torch.full_like(state["remembered"][:, 0], self.lam, dtype=torch.float32)
        if "rehearsed" in state:
            *correct, count = state["rehearsed"].unbind(1)
            first = torch.stack(correct, 1).argmax(1)  # the first of equal ones, so the nearest to lam
            best = torch.tensor(self.candidates, device=share.device)[first]
            share = torch.where(count > 0, best, share)
        return share * state["remembered"].any(1)

    def vote(self, batch: Batch, z: Tensor, state: State) -> Tensor:
        """Class probabilities [B, C] from a kernel over the nearest stored samples (equations 5 and 6).

        The softmax equals the normalised kernel and does not underflow at large distances.
        """
        stored, mask = state["remembered.feature"], state["remembered"]
        clients, samples = mask.shape
        distances = torch.cdist(z.view(clients, -1, z.shape[1]), stored, compute_mode="donot_use_mm_for_euclid_dist")
        squares = distances.square().masked_fill(~mask.unsqueeze(1), torch.inf)  # [K, B / K, N]
        nearest = squares.topk(min(self.neighbours, samples), largest=False)
        weights = (-nearest.values / (z.shape[1] * self.scale)).softmax(2).nan_to_num()  # NaN without samples
        labels = state["remembered.label"].unsqueeze(1).expand_as(squares).gather(2, nearest.indices)
        return (functional.one_hot(labels, batch.prior.shape[1]) * weights.unsqueeze(3)).sum(2).flatten(0, 1)
