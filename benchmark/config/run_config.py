"""The configuration of one run (`RunConfig`), its run id, and the options that every run has (`RunSettings`)."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.config.partition_options import FIELDS, MAX_COUNT, PartitionOptions
from fedprompt.data.partitions.settings import PartitionSettings
from fedprompt.results.records.identity import LATER_OPTIONS
from fedprompt.results.records.identity import run_id as identity_of

RECORD_FORMAT = 1
MAX_ROUNDS = 1_000_000
NOT_OF_THE_WORKLOAD = ("seed", "alpha", "plugins", "data_root", "checkpoint", "from_run", "from_hash", "from_model")


class LocalTrainingOptions(BaseModel):
    """Hyperparameters of local training. A preset may set them per method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[int, Field(ge=1, le=10_000, description="local epochs per round")] = 1
    batch_size: Annotated[int, Field(ge=1, le=1_000_000, description="local batch size")] = 32
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False, description="local learning rate")] = 0.1
    lr_schedule: Literal["constant", "cosine"] = Field(
        "cosine",
        description="learning rates over the rounds: constant, or cosine, which falls from --lr in the first round "
        "towards 0 after the last",
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        "sgd", description="local optimizer, as torch.optim computes it; its state is new in every round and phase"
    )
    momentum: Annotated[float | None, Field(ge=0, lt=1, description="momentum of sgd [default: 0.9]")] = None
    beta1: Annotated[
        float | None, Field(ge=0, lt=1, description="decay of the first moment of adam and adamw [default: 0.9]")
    ] = None
    beta2: Annotated[
        float | None, Field(ge=0, lt=1, description="decay of the second moment of adam and adamw [default: 0.999]")
    ] = None
    eps: Annotated[
        float | None,
        Field(gt=0, le=1000, description="added to the root of the second moment of adam(w) [default: 1e-8]"),
    ] = None
    weight_decay: Annotated[
        float, Field(ge=0, le=1000, description="weight decay: an L2 penalty with sgd and adam, decoupled with adamw")
    ] = 1e-5
    clip_norm: Annotated[float | None, Field(gt=0, le=1e6, description="maximum norm of a client's gradient")] = None


class RunSettings(LocalTrainingOptions, PartitionOptions):
    """Options with one value per run, which a grid does not vary. The defaults suit the embedded backbone."""

    participation: Annotated[float, Field(gt=0, le=1, description="share of the seen clients per round")] = 0.25
    rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS, description="training rounds")] = 24
    eval_every: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_ROUNDS,
            description="rounds between evaluations of all clients [default: after three quarters of the rounds and "
            "after the last]",
        ),
    ] = None
    eval_at: tuple[Annotated[int, Field(ge=0, le=MAX_ROUNDS)], ...] | None = Field(
        None, description="rounds after which all clients are evaluated, such as 6,12,24, in place of --eval-every"
    )
    personal_epochs: Annotated[
        int,
        Field(
            ge=0, le=10_000, description="local epochs on a client's own data before its personalised score; 0: none"
        ),
    ] = 1
    personal_lr_factor: Annotated[
        float,
        Field(
            gt=0, le=1000, description="factor on the learning rates before the personalised score, 1: those of round 1"
        ),
    ] = 1.0
    min_test: Annotated[
        int, Field(ge=1, le=MAX_COUNT, description="test samples that a client needs to count for the worst client")
    ] = 10
    prior_smoothing: Annotated[
        float, Field(ge=0, le=1e6, description="samples per class added to a client's counts for the prior correction")
    ] = 0.0
    backbone: str = Field(EMBEDDED, description="the embedded ViT, or one of `bench list backbones`")
    checkpoint: str | None = Field(None, description="weights file of the backbone, or 'random'")
    image_size: Annotated[
        int | None, Field(ge=8, le=4096, description="image side in pixels (default: the backbone's)")
    ] = None
    patch_size: Annotated[
        int | None, Field(ge=1, le=4096, description="patch side in pixels (default: the backbone's)")
    ] = None
    normalize: Literal["backbone", "imagenet", "half", "none"] = Field(
        "backbone", description="mean and standard deviation that normalise the images"
    )
    standardize: Literal["none", "features", "whiten"] = Field(
        "features",
        description="final features by the seen clients' statistics: none, features (mean and standard deviation) or "
        "whiten (mean and covariance)",
    )
    head_init: Literal["random", "zero", "ncm", "ridge"] = Field(
        "random",
        description="initial head of every method: random, zero, ncm (class means) or ridge, the last two from sums "
        "that the seen clients send once",
    )
    skip_corrupt: bool = Field(False, description="leave out unreadable images and report how many")
    data_root: str | None = Field(None, description="folder of the data sets")
    device: str = Field("cpu", description="cpu, cuda or cuda:N")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="precision of the frozen blocks; auto: bf16 where it is measured to be faster"
    )
    executor: Literal["auto", "sequential", "threaded", "fused"] = Field(
        "auto", description="how a cohort is computed: client by client, in threads, or fused into one pass"
    )

    @field_validator("eval_at")
    @classmethod
    def _one_schedule_of_evaluations(
        cls, value: tuple[int, ...] | None, info: ValidationInfo
    ) -> tuple[int, ...] | None:
        rounds = info.data.get("rounds")
        if value and info.data.get("eval_every") is not None:
            raise PydanticCustomError("eval_at", "it replaces --eval-every; use one of them")
        if value and rounds is not None and max(value) > rounds:
            message = f"{max(value)} lies after the last of {rounds} rounds; raise --rounds"
            raise PydanticCustomError("eval_at", message)
        return tuple(sorted(set(value))) if value else None


class RunConfig(RunSettings):
    """One resolved run: method with all its fields, data set, partition and seed.

    Attributes:
        rounds: Training rounds; 0 only evaluates.
        from_run: The run whose kept model this one starts from.
        from_hash: Hash of that model.
        from_model: Its file.
    """

    rounds: Annotated[int, Field(ge=0, le=MAX_ROUNDS)] = 24
    method: str
    settings: dict[str, dict[str, Any]]
    versions: dict[str, int]
    dataset: str
    data_identity: str
    backbone_identity: str
    alpha: float | None
    partition_hash: str | None
    seed: int
    plugins: tuple[str, ...] = ()
    from_run: str | None = None
    from_hash: str | None = None
    from_model: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in_later_options(cls, given: Any) -> Any:
        """Options that older records lack have their earlier values, whatever the defaults are now."""
        return {**LATER_OPTIONS, **given} if isinstance(given, dict) else given

    @cached_property
    def run_id(self) -> str:
        """Content hash of everything that the result depends on; names the run's directory."""
        return identity_of(self.model_dump(), RECORD_FORMAT)

    @cached_property
    def federation(self) -> PartitionSettings:
        """How the data set is distributed over clients."""
        return PartitionSettings(self.partition, **{name: getattr(self, name) for name in FIELDS})

    def workload_key(self, *ignored: str) -> str:
        """Returns `workload_key` of this configuration."""
        return workload_key(self.model_dump(mode="json"), *ignored)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Returns a copy with other values. Pydantic would copy the cached run id and partition settings too."""
        copy = super().model_copy(update=update, deep=deep)
        for name in ("run_id", "federation"):
            copy.__dict__.pop(name, None)
        return copy


def workload_key(config: Mapping[str, Any], *ignored: str) -> str:
    """Returns a key that is equal for runs of equal cost. Options that older records lack have their earlier values.

    Args:
        config: a run configuration as JSON, such as the `config` of a record.
        ignored: fields left out besides seed, alpha and the locations of files.
    """
    left_out = {*NOT_OF_THE_WORKLOAD, *ignored}
    options = {**LATER_OPTIONS, **config}
    return json.dumps({k: v for k, v in options.items() if k not in left_out and v is not None}, sort_keys=True)
