"""FedALT: an individual LoRA beside a frozen one of all other clients, mixed for each token."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, Streams, Uploads, register
from fedprompt.methods.components.lora import LoRA, low_rank, widths
from fedprompt.methods.components.prompts import linear_head
from fedprompt.methods.lazy import Tensor, torch


@register(
    "fedalt",
    paper="Bian et al., FedALT: Federated fine-tuning through adaptive local training with rest-of-world LoRA, AAAI",
    url="https://arxiv.org/abs/2503.11880",
    year=2026,
    family="parameter-efficient tuning",
    variants={"paper": {"rank": 8, "alpha": 32.0, "targets": "q,v"}},
)
class FedALT(LoRA):
    """Each client trains an individual LoRA, which is never replaced, beside the mean LoRA of all other clients.

    The second one is frozen. At every target layer, a mixer weights the two for each token: softmax(M x) with M of
    [2, D_in], first the others' LoRA, then the individual one. The head and the mixer are personal. A client uploads
    its individual LoRA as a report and receives the mean of the others' latest ones. A held-out client uses the mean
    over all clients of each tensor. The variant `paper` has the rank and alpha of the official code.
    """

    personalised = True
    shares = False
    seen_with = "its individual LoRA, mixer and head beside the mean LoRA of the other clients"
    held_out_with = "the means of the clients' LoRAs, mixers and heads"
    upload_kinds = {"latest.*": "parameters"}
    deviations = (
        "tunes a Vision Transformer; the linear head, which the paper does not have, is personal",
        "all clients start from the same A; in jmbian/FedALT each client draws its own",
        "clients take part in some rounds only, so the mean of the others includes older LoRAs; a client that never "
        "took part does not count",
        "rank 4 and alpha / r = 2, as in the whole LoRA family; the official client.py has rank 8 and alpha / r = 4 "
        "(fedalt:paper), on q and v as well",
        "no dropout before A; the official code has 0.05, and trains with AdamW and weight decay 0.05",
        "implemented from the official code, which has no held-out clients",
    )

    def individual(self, vit: Backbone, rng: Streams) -> State:
        """The initial individual LoRA."""
        return {**self.initial_a(vit, rng), **self.initial_b(vit)}

    def local(self, vit: Backbone, rng: Streams) -> State:
        """The individual LoRA, the head, and mixers [L, 2, D_in] from uniform(-1/sqrt(D_in), 1/sqrt(D_in))."""
        mixers = {}
        for name in self.target_layers:
            width, _ = widths(vit, name)
            draw = torch.empty(vit.depth, 2, width)
            mixers[f"mixer.{name}"] = draw.uniform_(-(width**-0.5), width**-0.5, generator=rng(f"mixer.{name}"))
        return {**self.individual(vit, rng), **mixers, **linear_head(vit, rng)}

    def memory(self, vit: Backbone, rng: Streams) -> State:
        """The mean of the latest individual LoRAs; zero until a client has trained."""
        return {f"others.{name}": torch.zeros_like(value) for name, value in self.individual(vit, rng).items()}

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        """The latest individual LoRA of each client [N, ...], and flags of the clients that have uploaded one [N]."""
        individual = self.individual(vit, rng).items()
        latest = {f"latest.{name}": torch.zeros(clients, *value.shape) for name, value in individual}
        return {**latest, "uploaded": torch.zeros(clients)}

    def update(self, batch: Batch, x: Tensor, state: State, target: str, layer: int) -> Tensor:
        weights = batch.matmul(x, state[f"mixer.{target}"][:, layer - 1].mT).softmax(-1)
        others = low_rank(batch, x, state, target, layer, prefix="others.lora")
        return weights[..., :1] * others + weights[..., 1:] * super().update(batch, x, state, target, layer)

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        """The individual LoRA times the number of samples, because the reports of a client's batches are summed."""
        samples = batch.mask.view(len(batch.counts), -1).sum(1)
        factors = {name: value for name, value in state.items() if name.startswith("lora.")}
        return {f"latest.{name}": torch.einsum("k,k...->k...", samples.to(v), v) for name, v in factors.items()}

    def download(self, server: State, client: int | None) -> State:
        """With the mean over all clients but this one in `others`."""
        if client is None:
            return server
        count = server["uploaded"].sum()
        left = (count - server["uploaded"][client]).clamp_min(1)
        means = {name: value for name, value in server.items() if name.startswith("others.")}
        own = {name: server[name.replace("others", "latest", 1)][client] for name in means}
        return {**server, **{name: (mean * count - own[name]) / left for name, mean in means.items()}}

    def combine(self, server: State, uploads: Uploads) -> State:
        """Stores the cohort's individual LoRAs and averages the latest ones of all clients, with equal weights."""
        clients = list(uploads.clients)
        uploaded = server["uploaded"].clone()
        uploaded[clients] = 1
        combined = {**server, "uploaded": uploaded}
        for name, sums in uploads.reports.items():
            latest = server[name].clone()
            latest[clients] = torch.einsum("k,k...->k...", 1 / uploads.samples.to(sums), sums)
            combined[name] = latest
            combined[name.replace("latest", "others", 1)] = latest.sum(0) / uploaded.sum()
        return combined
