"""The contract between methods and the simulator: `Method`, and the types that its hooks receive.

A method declares which tensors are shared and which are local, how a batch becomes logits, how a client trains and how
the server combines what it receives. The simulator does everything else: client sampling, batching, SGD, evaluation,
byte counts and random seeds.

Axes in shapes: B rows of a batch, K clients in a batch, C classes, M the largest number of classes per client, D the
width of the backbone, T tokens. Every tensor of a state that a method computes with has a leading client axis (K = 1
when clients train one at a time). `Batch` maps such tensors to the rows of each client, so the same method code works
for one client and for many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, dataclass_transform

from fedprompt.methods.lazy import Generator, Tensor, torch

State = dict[str, Tensor]
"""Tensors by name."""
LayerEdit = Callable[[str, int, Tensor, Tensor], Tensor]
"""(point, layer, input, output) -> new output; all tensors [B, T, ...]. `POINTS` lists the points."""
POINTS = ("norm1", "q", "k", "v", "proj", "norm2", "fc1", "fc2", "mlp")
"""Editable places of a block, in the order of computation. One more, `norm`, follows the last layer."""
Streams = Callable[[str], Generator]
"""Purpose ("head", "prompt") -> random generator. Every method gets the same generators, so that runs are paired."""


def hyperparameter(default: Any, meaning: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declares a hyperparameter: its default, a description for `bench list`, and inclusive limits."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "low": low, "high": high})


class Backbone(Protocol):
    """The frozen Vision Transformer as methods see it. Layers are numbered 1..depth, as in papers."""

    dim: int
    depth: int
    hidden: int  # width of the MLPs; 0 if blocks cannot be edited
    fc1_width: int  # width of fc1's output: `hidden`, or twice that in gated MLPs (SwiGLU), gates first
    registers: int  # register tokens, between cls and the patches; mostly 0
    patch_size: int
    image_size: int
    classes: int
    initial_head: State | None  # what `linear_head` returns in a run with `--head-init`

    def embed(self, batch: Batch) -> Tensor:
        """Tokens [B, T, D] entering layer 1: cls, registers, patches; positions added. Prompts go after cls."""

    def pixels(self, batch: Batch) -> Tensor:
        """Normalised images [B, 3, S, S], for methods that train in pixel space."""

    def tokens_of(self, images: Tensor) -> Tensor:
        """Tokens [B, T, D] entering layer 1, as `embed`, from normalised images [B, 3, S, S]."""

    def layers(self, x: Tensor, first: int = 1, last: int | None = None, edit: LayerEdit | None = None) -> Tensor:
        """Tokens after layers `first` to `last` (inclusive; default: the last layer).

        Rotary positions turn the last tokens of `x`, one per patch; insert prompts before them.
        """

    def encode(self, x: Tensor, first: int = 1, edit: LayerEdit | None = None) -> Tensor:
        """The cls feature [B, D] after layers `first` to depth and the final norm; standardised if the run does it."""

    def outputs(self, x: Tensor, read: int, first: int = 1, edit: LayerEdit | None = None) -> Tensor:
        """The first `read` tokens [B, read, D] after layers `first` to depth and the final norm; as `encode`."""

    def frozen(self, batch: Batch, layer: int) -> Tensor:
        """Tokens [B, T, D] entering `layer` without any prompt; cached per image where memory allows."""

    def features(self, batch: Batch, layer: int | None = None) -> Tensor:
        """The cls feature [B, D] of each image without prompts, or its cls token entering `layer`; cached per image.

        Only the feature after the final norm is standardised, with `--standardize`.
        """


class Batch(Protocol):
    """Rows of K clients, equally many per client. The simulator masks the padding rows in losses and metrics."""

    labels: Tensor
    """[B] class of each row. Training may read it; predictions may not (except in variants named `oracle`)."""
    mask: Tensor
    """[B] true for samples, false for padding. A method that sums over rows itself must apply it."""
    classes: Tensor
    """[K, M] ascending classes of each client; entries past a client's last class are arbitrary."""
    counts: Tensor
    """[K, C] number of training samples per client and class."""
    prior: Tensor
    """[K, C] class shares per client: normalised `counts`, or uniform for a client without labels."""
    phase: Phase | None
    """The current phase of local training; None during evaluation and statistics."""
    received: State
    """During local training, the client's state before its first step, [K, ...]; empty otherwise."""

    def own(self, value: Tensor) -> Tensor:
        """[K, ...] -> [B, ...]: the value of each row's client."""

    def matmul(self, x: Tensor, value: Tensor) -> Tensor:
        """[B, ..., n] times the [K, n, m] matrix of each row's client, giving [B, ..., m]."""

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """[B, D] through the linear layer of each row's client (weight [K, C, D], bias [K, C]), giving [B, C]."""

    def held(self, value: Tensor) -> Tensor:
        """[K, C] -> [K, M]: the entries of each client's classes, padded with zeros; without labels, of all classes."""

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Cross-entropy [B] of logits [B, C] with the labels. Use it in `loss`: loss plug-ins act here."""

    def class_sums(self, values: Tensor) -> Tensor:
        """Sums [B, D] over samples, per client and class of that client: [K, M, D]."""

    def log(self, name: str, values: Tensor) -> None:
        """Logs a diagnostic [B] per row; the round's record holds its mean over samples."""

    def log_by_class(self, name: str, values: Tensor) -> None:
        """Logs a vector [B, C] per row. Recorded: its means by true class at the end, for seen clients, if C <= 200."""


@dataclass(frozen=True)
class Phase:
    """A stage of local training: which tensors train, for how long, at which learning rate.

    A phase continues in the client's shuffled order where the previous phase stopped. With `rewind` it starts from the
    first batch of the round again, so its result does not depend on the phases before it.
    """

    trains: tuple[str, ...] | None = None  # tensor names; None: all shared and local tensors
    epochs: int | None = None  # None: the run's
    lr: float | None = None  # None: the run's
    max_lr: float | None = None  # a larger learning rate is lowered to this
    batches: int | None = None  # at most this many batches
    repeats: int = 1  # consecutive steps per batch
    rewind: bool = False


@dataclass(frozen=True)
class Uploads:
    """Uploads of a cohort: sample counts [K], shared tensors and reports [K, ...], statistics summed over clients.

    `epochs` are the local epochs of the run, which a phase may override.
    """

    clients: Sequence[int]
    samples: Tensor
    shared: State
    statistics: State
    reports: State = dataclasses.field(default_factory=dict)
    notes: dict[str, float] = dataclasses.field(default_factory=dict)
    epochs: int = 1

    def log(self, name: str, value: float) -> None:
        """Logs a diagnostic of the server's step in the round's record."""
        self.notes[name] = value

    def mean(self, name: str) -> Tensor:
        """Average of a shared tensor, weighted by sample counts (McMahan et al., 2017, Algorithm 1)."""
        weights = (self.samples / self.samples.sum()).to(self.shared[name])
        return torch.einsum("k,k...->...", weights, self.shared[name])


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(hyperparameter,))
class Configured:
    """Base of methods and optimisers. Annotated class attributes become the fields of a frozen dataclass."""

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    url: ClassVar[str] = ""
    year: ClassVar[int] = 0
    family: ClassVar[str] = ""
    local_optimiser: ClassVar[str] = ""
    """What clients train with in the paper or its official code, and the source. Not inherited; empty: unknown."""
    deviations: ClassVar[tuple[str, ...]] = ()
    """Known differences from the paper; every record lists them."""
    version: ClassVar[int] = 1
    """Part of a run's identity. Increase it when a code change alters results."""
    not_fusible: ClassVar[str] = ""
    """Why clients cannot train together in one pass; empty if they can. Records contain this reason."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    def fields(self) -> dict[str, Any]:
        """Hyperparameter values, in the order of their definition."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]


class Method(Configured):
    """Base class of all methods. The defaults are federated averaging of all shared tensors.

    A method must implement `logits`, and usually `shared`. All other hooks are optional. Hooks that return "only what
    changes" leave the remaining tensors as they are.
    """

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    compared: ClassVar[tuple[str, ...]] = ()
    """Variants that `--methods all` includes."""

    # ---- What is shared and local
    personalised: ClassVar[bool] = False
    """Whether clients keep tensors of their own."""
    shares: ClassVar[bool] = True
    """Whether clients train any shared tensor; if not, optimisers are refused."""

    @property
    def class_rows(self) -> tuple[str, ...]:
        """Names of tensors, statistics and reports with one row per class, [C, ...]; local tensors are not allowed.

        A client receives and uploads only the rows of its own classes: [K, M, ...] in its state, aligned with
        `batch.held`. The server keeps its rows of all other classes.
        """
        return ()

    def check(self, vit: Backbone) -> None:
        """Raises `MethodError` if the hyperparameters do not fit this backbone."""

    def shared(self, vit: Backbone, rng: Streams) -> State:
        """Initial tensors that clients train and the server averages."""
        return {}

    def local(self, vit: Backbone, rng: Streams) -> State:
        """Initial tensors that each client trains and keeps."""
        return {}

    def memory(self, vit: Backbone, rng: Streams) -> State:
        """Initial tensors that the server maintains and sends to clients; clients do not train them."""
        return {}

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        """Initial tensors that never leave the server; `clients` is the total number of clients."""
        return {}

    # ---- Prediction
    personal_copies: ClassVar[tuple[str, ...]] = ()
    """Shared tensors that a client, once trained, replaces by its own trained copy for its predictions."""

    @property
    def uses_prior(self) -> bool:
        """Whether logits read `batch.prior`. If so, held-out clients are also evaluated with a uniform prior."""
        return False

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C]. `state` contains the shared, local and memory tensors, [K, ...] each."""
        raise NotImplementedError(f"{type(self).__name__} does not implement logits")

    @property
    def datastore_size(self) -> int | None:
        """Number of training samples per client in the datastore, drawn at random; None: all."""
        return None

    def datastore(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Values [B, ...] of training samples that a client stores for its predictions; empty: no datastore.

        Computed before the client predicts, never uploaded. `logits` finds the stored values [K, N, ...] in its state,
        with a mask `remembered` [K, N] that is false for padding. Held-out clients have one in their personalised score
        only.
        """
        return {}

    def validation_statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Sums [K, ...] over validation samples (or zeros), which `logits` finds in its state beside a datastore."""
        return {}

    # ---- Local training
    no_decay: ClassVar[tuple[str, ...]] = ()
    """Trained tensors without weight decay."""
    selects: ClassVar[tuple[str, ...]] = ()
    """Trained tensors of which each sample uses some rows only; the other rows may have no gradient."""

    adjusts_steps: ClassVar[bool] = False
    """Whether `adjust_gradients` is meant for the step of the local optimizer, as a projection is. With Adam it then
    receives the step, without the learning rate; with SGD the gradients, which is the same for a linear map."""

    @property
    def learning_rates(self) -> Mapping[str, float]:
        """Learning rates of single tensors, in every phase; other tensors have the phase's."""
        return {}

    @property
    def refuses_losses(self) -> str:
        """Why no loss plug-in can be combined with this method, and a remedy; empty if they can."""
        return ""

    def phases(self) -> tuple[Phase, ...]:
        """Phases of local training, in order. An empty tuple declares a training-free method: rounds are skipped."""
        return (Phase(),)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Training loss [B] per row. Default: cross-entropy."""
        return batch.cross_entropy(self.logits(vit, batch, state))

    def adjust_gradients(self, gradients: State, received: State) -> State:
        """The gradients [K, ...] for the optimiser, from those of the loss and the tensors `received` this round."""
        return gradients

    def after_batch(self, state: State) -> State:
        """Updates without a gradient, after the steps on a batch. Returns only what changes, [K, ...]."""
        return {}

    # ---- Server
    refuses_optimisers: ClassVar[str] = ""
    """Why no optimiser can be combined with this method; empty if optimisers can."""
    rebuilt: ClassVar[str] = ""
    """Why shared tensors are rebuilt each round instead of moving to an average; empty if they are not. Optimisers
    that keep state between rounds are then refused."""

    @property
    def initial_statistics(self) -> bool:
        """Whether every training client uploads its statistics once before round 1."""
        return False

    def download(self, server: State, client: int | None) -> State:
        """Tensors sent to `client` (None: a held-out client). Default: everything except private tensors."""
        return server

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Untrained uploads [K, ...] of one batch. Summed over a client's data before its local training."""
        return {}

    def transform_statistics(self, statistics: State) -> State:
        """Transforms one client's statistics on the server, before they are summed over clients."""
        return statistics

    def apply_statistics(self, server: State, statistics: State) -> State:
        """Updates server tensors from statistics summed over clients. Returns only what changes."""
        return {}

    upload_kinds: ClassVar[Mapping[str, str]] = {}
    """What `statistics` and `reports` upload: name or wildcard -> a key of `uploads.KINDS`; needed where names do not
    say it."""

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Untrained uploads [K, ...] of one batch. Summed over a client's data after its training, with its own state.

        Not summed over clients: `combine` finds one row per client in `Uploads.reports`.
        """
        return {}

    def combine(self, server: State, uploads: Uploads) -> State:
        """All server tensors after a round. Default: averages of shared tensors, and `apply_statistics`."""
        averaged = {name: uploads.mean(name) for name in uploads.shared}
        updated = self.apply_statistics(server, uploads.statistics) if uploads.statistics else {}
        return {**server, **averaged, **updated}

    # ---- Evaluation
    held_out: ClassVar[bool] = True
    """Whether a client that never trained can predict, seen or held out; if not, it has no score."""
    seen_with: ClassVar[str] = "the averaged model"
    """What a client predicts with that has trained; part of every record."""
    held_out_with: ClassVar[str] = "the averaged model"
    """What a client predicts with that never trained, seen or held out; part of every record."""

    @property
    def fine_tuning(self) -> Phase | None:
        """Training of every seen client on its own data before it is scored, never uploaded; None: no fine-tuning.

        Only for what the paper itself does before it reports a score. Epochs of None are the run's `--personal-epochs`.
        """
        return None

    @property
    def adapted(self) -> tuple[str, ...] | None:
        """Tensors that a client trains for its personalised score, `--personal-epochs` on its own data.

        None: its local tensors, or the shared ones if there are no local ones.
        """
        return None

    def held_out_local(self, received: State, mean: State) -> State:
        """Local tensors of a client that never trained, seen or held out. Default: `mean`, over trained clients."""
        return mean
