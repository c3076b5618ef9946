"""Options of the partition. `PartitionSettings` checks them and fills in the defaults."""

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fedprompt.data.partitions.registry import find
from fedprompt.data.partitions.settings import PartitionSettings

FIELDS = tuple(field.name for field in fields(PartitionSettings) if field.name != "kind")
MAX_CLIENTS, MAX_COUNT = 1_000_000, 100_000_000  # the latter for samples
KINDS = (
    "dirichlet (a prior per client), dirichlet-class (a split per class, unequal sizes), pathological, domain, "
    "leave-one-domain-out, natural (the data set's own clients), quantity, iid, file"
)


def _number_or_name(value: float | str | None) -> float | str | None:
    try:
        return value if value is None else float(value)
    except ValueError:
        return value


class PartitionOptions(BaseModel):
    """Options of the partition. None selects the partition's default; options that it does not use are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str = Field("dirichlet", description=f"how samples are distributed over clients: {KINDS}")
    clients: int | None = Field(
        None, le=MAX_CLIENTS, description="number of clients [default: 20; natural: all; domain: one each]"
    )
    held_out: Annotated[str | float | None, AfterValidator(_number_or_name)] = Field(
        None, description="clients that never train: a share below 1, a number, or a domain [default: 0.2]"
    )
    validation: float = Field(0.0, description="share of each client's training samples kept for validation")
    sizes: str | None = Field(None, description="client sizes of dirichlet: equal or lognormal [default: equal]")
    size_sigma: float | None = Field(None, description="sigma of the log-normal client sizes [default: 1]")
    samples_per_client: int | None = Field(
        None,
        le=MAX_COUNT,
        description="training samples of each client of dirichlet; the others are unused [default: all are used]",
    )
    classes_per_client: int | None = Field(
        None, le=MAX_COUNT, description="classes per client, for pathological [default: 2]"
    )
    clients_per_domain: int | None = Field(None, le=MAX_COUNT, description="clients per domain [default: 1]")
    domain: str | None = Field(None, description="held-out domain of leave-one-domain-out")
    min_samples: int | None = Field(
        None, le=MAX_COUNT, description="smallest natural client that takes part [default: 1]"
    )
    partition_file: str | None = Field(None, description="JSON file with a saved federation or index lists per client")

    def settings_at(self, alpha: float | None) -> PartitionSettings:
        """Returns the checked settings at one `alpha`.

        Raises:
            DataError: an option has no effect with this partition, or its value is out of range.
        """
        given = {name: getattr(self, name) for name in FIELDS if name in PartitionOptions.model_fields}
        file = given.pop("partition_file")
        kind = "file" if file is not None and "partition" not in self.model_fields_set else self.partition
        return PartitionSettings(kind, alpha, **given, partition_file=None if file is None else os.path.abspath(file))


def flat(settings: PartitionSettings) -> dict[str, Any]:
    """Returns partition settings as the flat fields of a run configuration."""
    return {"partition": settings.kind} | {name: getattr(settings, name) for name in FIELDS}


def drop_unused(preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a preset without the options that the partition chosen in `given`, if any, does not use."""
    chosen = given.get("partition") or ("file" if given.get("partition_file") else None)
    if chosen is None:
        return dict(preset)
    used = {*find(chosen).options, "validation"}
    return {k: v for k, v in preset.items() if k in used or k not in (*FIELDS, "partition")}
