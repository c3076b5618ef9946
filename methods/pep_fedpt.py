"""PEP-FedPT: class prompts, mixed per sample with weights from class prototypes and the client's class prior."""

from __future__ import annotations

from collections.abc import Mapping

from fedprompt.methods import Backbone, Batch, Method, MethodError, State, Streams, hyperparameter, register
from fedprompt.methods.components import prototypes
from fedprompt.methods.components.prompt_mixing import Mixing, Prototypes, Similarity, soft_weights
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.lazy import Tensor, torch


def insertion_layer(vit: Backbone, depth_share: float = 0.5) -> int:
    """Layer J, counted from 1, as a share of the depth."""
    return round(depth_share * vit.depth) + 1


@register(
    "pep-fedpt",
    paper="Yashwanth et al., Prompt estimation from prototypes, TMLR (arXiv 2510.25372)",
    url="https://arxiv.org/abs/2510.25372",
    year=2026,
    family="global prompts",
    variants={
        "prior": {"mixing": "prior"},
        "prototype": {"mixing": "prototype"},
        "hard": {"mixing": "hard"},
        "uniform": {"mixing": "uniform"},
        "oracle": {"mixing": "oracle"},
        "cosine": {"similarity": "cosine"},
        "gaussian": {"similarity": "gaussian"},
        "no-shared": {"shared_tokens": 0},
    },
)
class PEPFedPT(Method):
    """A shared prompt at the first layer, and a mixture of class prompts, computed per sample, before layer J.

    The mixing weights are the posterior class probabilities of the sample, from the client's class prior and the
    similarity of the cls token to global class prototypes. No tensor is personal.
    """

    seen_with = held_out_with = "the averaged model, with class prompts mixed per sample (`mixing`)"
    shared_tokens: int = hyperparameter(10, "tokens of the shared prompt (n_S)", low=0)
    class_tokens: int = hyperparameter(1, "tokens of each class prompt (n_C)", low=1)
    layer: int | None = hyperparameter(
        None, "layer J that the mixed prompt enters; None: round(L/2) + 1, or that of depth_share", low=2
    )
    depth_share: float | None = hyperparameter(
        None, "share s of the depth L, for J = round(s L) + 1; None: 1/2", low=0, high=1
    )
    mixing: Mixing = hyperparameter(
        "posterior", "rule for the mixing weights: prior x prototype similarity, or an ablation"
    )
    similarity: Similarity = hyperparameter("centred-cosine", "how cls tokens are compared with prototypes")
    tau: float = hyperparameter(0.1, "temperature of the cosine similarities", low=1e-6)
    beta: float = hyperparameter(0.5, "weight of the old prototype in an update", low=0, high=1)
    weights_gradient: bool = hyperparameter(False, "propagate gradients through the mixing weights")
    first_prototypes: bool = hyperparameter(
        True, "compute prototypes in a pass over the training clients before round 1"
    )
    class_lr: float | None = hyperparameter(None, "learning rate of the class prompts; None: the run's", low=1e-8)

    version = 2
    no_decay = ("class_prompts",)  # rows of absent classes have no gradient and must not shrink
    deviations = (
        "reconstructed from the abstract and the methods it builds on: no official code is public",
        "insertion layer, similarity, temperature, momentum and first prototypes are our choices (see the fields)",
        "classes without a prototype get no weight, unless none of the client's classes has one",
    )

    @property
    def uses_prior(self) -> bool:
        return self.mixing in ("posterior", "prior", "hard")

    @property
    def class_rows(self) -> tuple[str, ...]:
        sums = ("prototype.sum", "prototype.count", "prototype.square")
        # Classes without samples at a client have a prior of zero there, so these rules give them no weight.
        return (*sums, "class_prompts", "prototypes", "known") if self.uses_prior else sums

    @property
    def uses_prototypes(self) -> bool:
        """Whether the mixing weights use prototypes; if not, none are computed or sent."""
        return self.mixing in ("posterior", "prototype", "hard")

    @property
    def initial_statistics(self) -> bool:
        return self.first_prototypes and self.uses_prototypes

    @property
    def learning_rates(self) -> Mapping[str, float]:
        return {} if self.class_lr is None else {"class_prompts": self.class_lr}

    def check(self, vit: Backbone) -> None:
        if self.layer is not None and self.depth_share is not None:
            raise MethodError(f"{self.name}.layer={self.layer} and depth_share={self.depth_share}: set one of the two.")
        if not 2 <= self.insertion(vit) <= vit.depth:
            share = "" if self.depth_share is None else f" (depth_share={self.depth_share})"
            raise MethodError(
                f"{self.name}.layer={self.insertion(vit)}{share} is out of range: this backbone takes 2 to {vit.depth}."
            )

    def insertion(self, vit: Backbone) -> int:
        """Layer J, counted from 1."""
        if self.layer is not None:
            return self.layer
        return insertion_layer(vit) if self.depth_share is None else insertion_layer(vit, self.depth_share)

    def shared(self, vit: Backbone, rng: Streams) -> State:
        state = {"class_prompts": vpt_uniform(vit, (vit.classes, self.class_tokens), rng, "class prompts")}
        if self.shared_tokens:
            state["prompt"] = vpt_uniform(vit, (self.shared_tokens,), rng)
        return {**state, **linear_head(vit, rng)}

    def memory(self, vit: Backbone, rng: Streams) -> State:
        if not self.uses_prototypes:
            return {}
        extra = {"gaussian": {"variance": torch.ones(())}, "centred-cosine": {"centre": torch.zeros(vit.dim)}}
        return {**prototypes.initial(vit), **extra.get(self.similarity, {})}

    def tokens(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Tokens entering layer J, including the shared prompt (steps 1 and 2); cls comes first."""
        if not self.shared_tokens:
            return vit.frozen(batch, self.insertion(vit))
        x = insert_after_cls(vit.embed(batch), batch.own(state["prompt"]))
        return vit.layers(x, 1, self.insertion(vit) - 1)

    def weights(self, batch: Batch, z: Tensor, state: State) -> Tensor:
        """Mixing weights (step 3): [B, M] over the client's classes if the rule uses the prior, otherwise [B, C]."""
        return soft_weights(
            batch,
            z if self.weights_gradient else z.detach(),
            batch.held(batch.prior) if self.uses_prior else torch.full_like(batch.prior, 1 / batch.prior.shape[1]),
            Prototypes.from_state(state),
            mixing=self.mixing,
            similarity=self.similarity,
            tau=self.tau,
        )

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        x = self.tokens(vit, batch, state)
        weights = self.weights(batch, x[:, 0], state)
        mixed = batch.matmul(weights, state["class_prompts"].flatten(2))  # step 4
        x = insert_after_cls(x, mixed.unflatten(1, (self.class_tokens, vit.dim)))  # step 5
        self.log_weights(batch, weights.detach())
        return classify(batch, vit.encode(x, first=self.insertion(vit)), state)

    def log_weights(self, batch: Batch, weights: Tensor) -> None:
        """Logs the entropy of the weights (nats), the accuracy of the weights and of the prior, and mean weights."""
        best = weights.argmax(1)
        if self.uses_prior:
            classes = batch.own(batch.classes)
            best = classes.gather(1, best.unsqueeze(1)).squeeze(1)
        batch.log("mix_entropy", torch.special.entr(weights).sum(1))
        batch.log("mix_accuracy", (best == batch.labels).float())
        batch.log("prior_accuracy", (batch.own(batch.prior).argmax(1) == batch.labels).float())
        if batch.phase is None:  # recorded in evaluation only
            if self.uses_prior:
                # Padding entries of `classes` may repeat an id; their weight is zero, so adding is safe.
                weights = weights.new_zeros(len(weights), batch.prior.shape[1]).scatter_add_(1, classes, weights)
            batch.log_by_class("mix_weights", weights)

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Sums, counts and, for the Gaussian, squared norms of the cls token entering layer J, per client and class."""
        if not self.uses_prototypes:
            return {}
        layer = self.insertion(vit)
        z = self.tokens(vit, batch, state)[:, 0] if self.shared_tokens else vit.features(batch, layer)
        sums = prototypes.sums(batch, z)
        if self.similarity == "gaussian":
            sums["prototype.square"] = batch.class_sums(z.square().sum(1, keepdim=True))
        return sums

    def apply_statistics(self, server: State, statistics: State) -> State:
        """mu_c <- beta mu_c + (1 - beta) (class mean of the round); the first class mean replaces zero."""
        total, count = statistics["prototype.sum"], statistics["prototype.count"]
        seen = count > 0
        fresh = total / count.clamp_min(1)
        old_share = self.beta * server["known"].unsqueeze(1)
        blended = old_share * server["prototypes"] + (1 - old_share) * fresh
        new = {
            "prototypes": torch.where(seen, blended, server["prototypes"]),
            "known": torch.maximum(server["known"], seen.squeeze(1).to(server["known"].dtype)),
        }
        if self.similarity == "centred-cosine":
            new["centre"] = (new["known"] @ new["prototypes"]) / new["known"].sum().clamp_min(1)
        if self.similarity == "gaussian":
            # Pooled within-class variance per dimension: sum |z|^2 - n |mean|^2 over all classes.
            within = statistics["prototype.square"] - count * fresh.square().sum(1, keepdim=True)
            spread = within.sum() / (count.sum() * fresh.shape[1])
            share = self.beta if bool(server["known"].any()) else 0.0
            new["variance"] = share * server["variance"] + (1 - share) * spread
        return new
