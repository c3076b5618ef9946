"""FedMGP: several groups of prompts per client, of which the server averages some."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, MethodError, State, Streams, Uploads, hyperparameter, register
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.lazy import Generator, Tensor, functional, torch


@register(
    "fedmgp",
    paper="Bo et al., FedMGP: Personalized federated learning with multi-group text-visual prompts, NeurIPS",
    url="https://arxiv.org/abs/2511.00480",
    year=2025,
    family="personal prompts",
    variants={"attract": {"diversity": -1.0}},
)
class FedMGP(Method):
    """Each client has groups of prompts: an image passes the backbone with each group, and logits are averaged.

    After a round the server draws some groups of each client, more probably those that resemble the global groups, and
    averages them by the order in which they were drawn. In its next round a client has the global groups in the place
    of its drawn ones. Its other groups stay its own. The head is averaged.
    """

    personalised = True
    rebuilt = "fedmgp replaces the drawn groups of each client by averages"
    seen_with = "the mean over its groups of prompts, of which the drawn ones are global, and the averaged head"
    held_out_with = "the mean over the global groups of prompts, repeated up to the number of groups, and the head"
    groups: int = hyperparameter(5, "groups of prompts per client, each another pass through the backbone", low=1)
    tokens: int = hyperparameter(2, "prompt tokens of each group, at the first layer", low=1)
    selected: int = hyperparameter(2, "groups drawn from each client and averaged", low=1)
    temperature: float = hyperparameter(1.0, "divides the cosines in the softmax that groups are drawn from", low=1e-6)
    diversity: float = hyperparameter(
        1.0,
        "weight of the distance between groups' features; positive values push groups apart, negative ones together",
    )
    deviations = (
        "visual prompts and a linear head on a plain ViT; the paper pairs each visual group with a textual one of CLIP",
        "the diversity term pushes groups apart, as in the paper's text; the official code (weihao-bo/FedMGP, "
        "trainers/fedmgp.py) adds the absolute value of the negative L1 distance to the loss, or one minus the cosine, "
        "which pulls groups together; the variant `attract` does this",
        "groups and head are averaged by sample counts, so that one group is federated averaging; the official code "
        "averages without weights",
        "a client receives the newest global groups when it is sampled; in the official code they are those of its "
        "last round, which is the same if all clients take part in every round",
        "all groups of a client travel, because the server draws; in the paper clients draw and send only those groups",
        "trains at the run's learning rate; the official code uses SGD with 0.001 for 10 rounds of 2 epochs",
    )

    def check(self, vit: Backbone) -> None:
        if self.selected > self.groups:
            raise MethodError(
                f"fedmgp.selected={self.selected}: a client has {self.groups} groups; raise fedmgp.groups."
            )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        """On the server, `prompts` are the global groups, repeated up to the number of groups."""
        return {"prompts": vpt_uniform(vit, (self.groups, self.tokens), rng), **linear_head(vit, rng)}

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        """A client's groups before its first round; the seed of the draws and the number of rounds, `draws` [2]."""
        seed = torch.randint(2**62, (1,), generator=rng("draws"))
        return {"initial.prompts": self.shared(vit, rng)["prompts"], "draws": torch.cat([seed, torch.zeros_like(seed)])}

    def download(self, server: State, client: int | None) -> State:
        """The head, and the client's groups with the newest global ones in the place of those drawn from it."""
        sent = {name: server[name] for name in ("prompts", "head.weight", "head.bias")}
        if client is None:
            return sent
        own = server.get(f"{client}.prompts", server["initial.prompts"])
        return {**sent, "prompts": torch.cat([sent["prompts"][: self.selected], own[self.selected :]])}

    def features(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """The cls feature of each image with each group, [B, groups, D]."""
        prompts = batch.own(state["prompts"])  # [B, groups, tokens, D]
        x = vit.embed(batch).unsqueeze(1).expand(-1, prompts.shape[1], -1, -1)
        return vit.encode(insert_after_cls(x.flatten(0, 1), prompts.flatten(0, 1))).unflatten(0, prompts.shape[:2])

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return torch.stack([classify(batch, z, state) for z in self.features(vit, batch, state).unbind(1)]).mean(0)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """The mean cross-entropy of the groups, minus `diversity` times the distance between them."""
        z = self.features(vit, batch, state)
        losses = [batch.cross_entropy(classify(batch, own, state)) for own in z.unbind(1)]
        distance = distance_between(z)
        batch.log("group_distance", distance)
        return torch.stack(losses).mean(0) - self.diversity * distance

    def combine(self, server: State, uploads: Uploads) -> State:
        """Draws groups of each client, averages those drawn at the same place, and stores each client's groups.

        A client's groups are stored in the order in which they are drawn, so that the first `selected` are replaced.
        """
        prompts, common = uploads.shared["prompts"], server["prompts"][: self.selected]
        similarity = functional.cosine_similarity(prompts.flatten(2).unsqueeze(2), common.flatten(1), dim=3).amax(2)
        seed, rounds = server["draws"].tolist()
        scores = similarity / self.temperature if rounds else torch.zeros_like(similarity)
        order = draw_all(scores, torch.Generator().manual_seed(seed + rounds))
        uploads.log("drawn_similarity", float(similarity.gather(1, order[:, : self.selected]).mean()))
        ordered = torch.stack([own[places] for own, places in zip(prompts, order, strict=True)])
        weights = (uploads.samples / uploads.samples.sum()).to(prompts)
        averaged = torch.einsum("k,k...->...", weights, ordered[:, : self.selected])
        return {
            **server,
            **{f"{client}.prompts": own for client, own in zip(uploads.clients, ordered, strict=True)},
            **{name: uploads.mean(name) for name in ("head.weight", "head.bias")},
            "prompts": averaged[torch.arange(self.groups) % self.selected],
            "draws": torch.stack([server["draws"][0], server["draws"][1] + 1]),
        }


def distance_between(z: Tensor) -> Tensor:
    """The mean absolute difference [B] of two groups' normalised features [B, groups, D]; 0 for one group."""
    first, second = torch.triu_indices(z.shape[1], z.shape[1], 1)
    z = functional.normalize(z, dim=2)
    return (z[:, first] - z[:, second]).abs().mean(2).sum(1) / max(1, len(first))


def draw_all(scores: Tensor, generator: Generator) -> Tensor:
    """Draws the columns of each row of scores [K, G] from their softmax, without replacement, until none is left.

    Returns their order, [K, G]: that of the sums of score and Gumbel noise, from the largest.
    """
    uniform = torch.rand(scores.shape, generator=generator, dtype=torch.float64).clamp_min(1e-300)
    return (scores - (-uniform.log()).log().to(scores)).argsort(1, descending=True)
