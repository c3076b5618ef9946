"""The Method contract: what a method says, and what it may ask of the simulator.

A method says which tensors are shared and which local, how a batch becomes logits, how a client learns,
and how the server combines. Sampling, batching, the optimiser, evaluation, byte counts and seeds are the
simulator's. Every tensor of a state that a method computes with carries a leading axis over the K clients
of the batch (K = 1 when clients run one by one), and `Batch` turns it into each sample's own client's
value, so that one text of a method serves both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, dataclass_transform

from fedprompt.methods.lazy import functional, torch

if TYPE_CHECKING:
    from torch import Generator, Tensor

State = dict[str, "Tensor"]
LayerEdit = Callable[[str, int, "Tensor", "Tensor"], "Tensor"]
"""(point, layer, what enters there, what comes out) to what comes out instead; [B, T, ...] each, the points below."""
POINTS = ("norm1", "q", "k", "v", "proj", "norm2", "fc1", "fc2", "mlp")
"""Places in a block that can be edited, in the order of computation; beside them `norm`, after the last layer."""

Streams = Callable[[str], "Generator"]
"""A purpose ("head", "prompt") to its random generator: the same for every method, so that runs are paired."""


def hyperparameter(default: Any, meaning: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A hyper-parameter of a method: its default, its meaning for `bench list`, and its inclusive limits."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "low": low, "high": high})


class Backbone(Protocol):
    """The frozen Vision Transformer as methods see it. Layers are counted 1..depth, as papers do."""

    dim: int
    depth: int
    hidden: int  # width inside the blocks' MLP; 0 where blocks cannot be edited
    patch_size: int
    image_size: int
    classes: int

    def embed(self, batch: Batch) -> Tensor:
        """Tokens [B, 1 + patches, D] entering layer 1: cls first, positions added."""

    def pixels(self, batch: Batch) -> Tensor:
        """Normalised images [B, 3, S, S], for what is trained before the patches are embedded."""

    def tokens_of(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, S, S] to the tokens entering layer 1."""

    def layers(self, x: Tensor, first: int = 1, last: int | None = None, edit: LayerEdit | None = None) -> Tensor:
        """Tokens after layers `first`..`last` (inclusive; the last of all by default)."""

    def encode(self, x: Tensor, first: int = 1, edit: LayerEdit | None = None) -> Tensor:
        """The cls feature [B, D]: layers `first`..depth, then the final norm."""

    def outputs(self, x: Tensor, read: int, first: int = 1, edit: LayerEdit | None = None) -> Tensor:
        """The first `read` tokens [B, read, D] after layers `first`..depth and the final norm."""

    def frozen(self, batch: Batch, layer: int) -> Tensor:
        """Tokens [B, 1 + patches, D] entering `layer` without any prompt, computed once per image where they fit."""

    def features(self, batch: Batch, layer: int | None = None) -> Tensor:
        """The frozen cls feature [B, D] of each image without any prompt, or its cls token entering `layer`.

        Computed once per image and machine: what a query, a datastore or a class mean is made of.
        """


class Batch(Protocol):
    """Samples of K clients, the same number of rows for each; rows that pad are masked out by the simulator."""

    labels: Tensor
    """[B] class of each row. Training may use it; a prediction may not (an oracle says so in its name)."""
    mask: Tensor
    """[B] whether a row is a sample; the others only fill up, and no sum that a method takes itself may hold them."""
    classes: Tensor
    """[K, M] the classes that each client holds, ascending; past a client's last one, any."""
    counts: Tensor
    """[K, C] each client's training samples per class."""
    prior: Tensor
    """[K, C] each client's class shares: `counts` normalised, or uniform for a client without labels."""

    phase: Phase | None
    """The phase of local training under way; None outside it."""

    def own(self, value: Tensor) -> Tensor:
        """[K, ...] to [B, ...]: each sample's own client's value."""

    def matmul(self, x: Tensor, value: Tensor) -> Tensor:
        """[B, ..., n] by each sample's own client's [K, n, m], giving [B, ..., m]."""

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """[B, D] through each sample's own client's layer: weight [K, C, D], bias [K, C], giving [B, C]."""

    def held(self, value: Tensor) -> Tensor:
        """[K, C] to [K, M]: a value per class for the M (at most) classes that each client holds, zero past them.

        A client holds the classes of its training samples; one without labels is taken to hold all.
        """

    def class_sums(self, values: Tensor) -> Tensor:
        """Sums over the real rows per client and class that it holds: [B, D] to [K, M, D]."""

    def log(self, name: str, values: Tensor) -> None:
        """Hands a per-sample diagnostic [B] to the round's log, where its mean over real rows is written."""

    def log_by_class(self, name: str, values: Tensor) -> None:
        """Hands a row [B, C] for each sample to the record, where the last evaluation's means by true class are kept.

        Of the seen clients' test samples, and of data sets of at most 200 classes, so that records stay small.
        """


@dataclass(frozen=True)
class Phase:
    """A stretch of local training: what trains, for how long, how fast (None: as the run says).

    A phase goes on in the client's shuffled order where the one before it ended, or with `rewind` sees the batches
    from the round's first on again, so that what it leaves does not depend on the phases before it taking batches.
    """

    trains: tuple[str, ...] | None = None  # tensor names; None: every shared and local one
    epochs: int | None = None
    lr: float | None = None
    batches: int | None = None  # at most so many of those of its epochs
    repeats: int = 1  # successive steps on each batch
    rewind: bool = False


@dataclass(frozen=True)
class Uploads:
    """What a cohort sent: shared tensors [K, ...] after training, sample counts [K], statistics summed over it, and
    each client's own reports [K, ...]."""

    clients: Sequence[int]
    samples: Tensor
    shared: State
    statistics: State
    reports: State = dataclasses.field(default_factory=dict)
    notes: dict[str, float] = dataclasses.field(default_factory=dict)

    def log(self, name: str, value: float) -> None:
        """Hands a diagnostic of the server's step to the round's log."""
        self.notes[name] = value

    def mean(self, name: str) -> Tensor:
        """The average of a shared tensor weighted by sample counts (McMahan et al., 2017, Algorithm 1)."""
        weights = (self.samples / self.samples.sum()).to(self.shared[name])
        return torch.einsum("k,k...->...", weights, self.shared[name])


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(hyperparameter,))
class Configured:
    """Annotated class attributes become the fields of an immutable object."""

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    year: ClassVar[int] = 0
    family: ClassVar[str] = ""
    deviations: ClassVar[tuple[str, ...]] = ()
    """Known differences from the paper; every record carries them."""
    version: ClassVar[int] = 1
    """Part of a run's identity: raised when a change of the code changes results."""
    not_fusible: ClassVar[str] = ""
    """Why clients cannot train together in one pass, where they cannot: records say so."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    def fields(self) -> dict[str, Any]:
        """The values of the hyper-parameters, in the order of their definition."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]


class Method(Configured):
    """Base of every method; what is not overridden is federated averaging of everything shared."""

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    personalised: ClassVar[bool] = False
    """Whether clients keep tensors of their own."""
    held_out: ClassVar[bool] = True
    """Whether a client that never trained can predict; if not, its metrics are not applicable."""
    seen_with: ClassVar[str] = "the averaged model"
    """What a client that training may sample predicts with; every record says it."""
    held_out_with: ClassVar[str] = "the averaged model"
    """What a client that never trains predicts with, before any adaptation; nothing where `held_out` is false."""
    log_odds: ClassVar[bool] = True
    """Whether logits are log-probabilities up to a constant, to which the log of a prior may be added; if not, the
    prior correction only masks the classes that a client does not hold."""
    personal_copies: ClassVar[tuple[str, ...]] = ()
    """Shared tensors of which a client that has trained predicts with its own copy, as its training left it."""
    no_decay: ClassVar[tuple[str, ...]] = ()
    """Trained tensors that weight decay leaves alone."""
    shares: ClassVar[bool] = True
    """Whether anything is trained together; if not, optimiser plug-ins have nothing to act on."""
    refuses_optimisers: ClassVar[str] = ""
    """Why no optimiser plug-in can act on what it shares, where none can."""
    rebuilt: ClassVar[str] = ""
    """Why a round's shared tensors are made anew, not moved from the last one's to an average, where they are: plug-ins
    that remember earlier rounds are refused."""
    selects: ClassVar[tuple[str, ...]] = ()
    """Trained tensors of which a sample uses some rows alone, so that the others may go without a gradient."""

    @property
    def fine_tuning(self) -> Phase | None:
        """What a client trains on its own data before it predicts, and keeps from the server; None: nothing.

        A held-out client is scored without it, and with it beside that.
        """
        return None

    @property
    def adapted(self) -> tuple[str, ...] | None:
        """What a held-out client trains under `--adapt-epochs`: None, its local tensors or, without any, the shared
        ones; empty, nothing, and the adapted result does not apply."""
        return None

    @property
    def class_rows(self) -> tuple[str, ...]:
        """Tensors, statistics and reports with a row per class, [C, ...], of which a client needs only those it holds.

        Not for local tensors. Other rows neither travel nor take part: a client's state has [K, M, ...], aligned with
        `batch.held`, and the server keeps its own rows of the classes that a client does not hold.
        """
        return ()

    @property
    def uses_prior(self) -> bool:
        """Whether logits read `batch.prior`; held-out clients are then also scored with a uniform one."""
        return False

    @property
    def initial_statistics(self) -> bool:
        """Whether every training client uploads its statistics once before round 1."""
        return False

    def check(self, vit: Backbone) -> None:
        """Raises `MethodError` where the fields do not fit this backbone."""

    def shared(self, vit: Backbone, rng: Streams) -> State:
        """Initial tensors that clients train and the server averages."""
        return {}

    def local(self, vit: Backbone, rng: Streams) -> State:
        """Initial tensors that each client trains and keeps."""
        return {}

    def memory(self, vit: Backbone, rng: Streams) -> State:
        """Initial tensors that the server keeps and sends along, and that no client trains."""
        return {}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C] from the batch and the state (shared, local and memory tensors, each [K, ...])."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a batch becomes logits")

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Training loss of each sample [B]; cross-entropy unless overridden."""
        return functional.cross_entropy(self.logits(vit, batch, state), batch.labels, reduction="none")

    def phases(self) -> tuple[Phase, ...]:
        """How a client learns, phase after phase; none: the method is free of training, and rounds pass it by."""
        return (Phase(),)

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Untrained uploads [K, ...] of one batch, summed over a client's data at the start of its local update."""
        return {}

    def transform_statistics(self, statistics: State) -> State:
        """What the server adds up of one client's statistics; as they came, unless overridden."""
        return statistics

    def apply_statistics(self, server: State, statistics: State) -> State:
        """The server's tensors after statistics, summed over clients, have come in; returns only what changed."""
        return {}

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Untrained uploads [K, ...] of one batch, summed over a client's data after its training, with its own state.

        They reach `combine` client by client, in `Uploads.reports`.
        """
        return {}

    @property
    def datastore_size(self) -> int | None:
        """How many of its training samples a client remembers, drawn at random; None: all."""
        return None

    def datastore(self, vit: Backbone, batch: Batch, state: State) -> State:
        """What a client keeps of its training samples to predict with, a row for each: [B, ...] of one batch.

        Made when it is to predict and never sent. `logits` then finds [K, N, ...] in its state, and beside them
        `remembered` [K, N], false past a client's last sample. A held-out client is scored without, and apart with it.
        """
        return {}

    def validation_statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Sums [K, ...] over the validation samples of clients that remember, which `logits` then finds in its state.

        They are for choosing what to predict with; a client without validation samples finds zeros.
        """
        return {}

    def adjust_gradients(self, gradients: State, received: State) -> State:
        """The gradients [K, ...] that a client follows, given those of its loss and what it received."""
        return gradients

    def after_batch(self, state: State) -> State:
        """The tensors [K, ...] that move otherwise than along a gradient, once the steps on a batch are taken.

        Returns only what changes; the rest, and what the server sent, stays as it is.
        """
        return {}

    def held_out_local(self, received: State, mean: State) -> State:
        """The local tensors of a held-out client, given what it receives and the mean of the trained clients' own."""
        return mean

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        """Initial tensors that the server keeps to itself, for so many clients in all; they never travel."""
        return {}

    def download(self, server: State, client: int | None) -> State:
        """What the server sends to a client: all that it holds but the private tensors, unless overridden.

        `client` is None for a held-out one, of which the server knows nothing.
        """
        return server

    def combine(self, server: State, uploads: Uploads) -> State:
        """The server's tensors after a round: averages of the shared ones, statistics folded in."""
        averaged = {name: uploads.mean(name) for name in uploads.shared}
        folded = self.apply_statistics(server, uploads.statistics) if uploads.statistics else {}
        return {**server, **averaged, **folded}
