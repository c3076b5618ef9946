"""The options that say who holds which samples; `PartitionSettings` checks them and knows the defaults."""

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fedprompt.data.partitions.registry import find
from fedprompt.data.partitions.settings import PartitionSettings

FIELDS = tuple(field.name for field in fields(PartitionSettings) if field.name != "kind")
KINDS = (
    "dirichlet (a prior per client), dirichlet-class (a split per class, sizes unequal), pathological, domain, "
    "leave-one-domain-out, natural (the data set's own clients), quantity, iid, file"
)


def _number_or_name(value: float | str | None) -> float | str | None:
    try:
        return value if value is None else float(value)
    except ValueError:
        return value


class PartitionOptions(BaseModel):
    """Settings of the partition; None is its own default, and one that it does not use is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str = Field("dirichlet", description=f"how samples are spread over clients: {KINDS}")
    clients: int | None = Field(None, description="clients in all [default: 20; natural: all; domain: one each]")
    held_out: Annotated[str | float | None, AfterValidator(_number_or_name)] = Field(
        None, description="clients never trained on: a share below 1, a number, or a domain [default: 0.2]"
    )
    validation: float = Field(0.0, description="share of each client's training samples set aside to choose settings")
    sizes: str | None = Field(None, description="client sizes of dirichlet: equal or lognormal [default: equal]")
    size_sigma: float | None = Field(None, description="deviation of the log-normal's logarithm [default: 1]")
    classes_per_client: int | None = Field(None, description="classes of each pathological client [default: 2]")
    clients_per_domain: int | None = Field(None, description="clients that share a domain [default: 1]")
    domain: str | None = Field(None, description="the domain that leave-one-domain-out holds out")
    min_samples: int | None = Field(None, description="smallest natural client that takes part [default: 1]")
    partition_file: str | None = Field(None, description="a saved federation, or index lists for clients, as JSON")

    def settings_at(self, alpha: float | None, partition_hash: str | None = None) -> PartitionSettings:
        """The settings of the partition at one `alpha`. Raises DataError for what it does not use or cannot meet."""
        given = {name: getattr(self, name) for name in FIELDS if name in PartitionOptions.model_fields}
        file = given.pop("partition_file")
        kind = "file" if file is not None and "partition" not in self.model_fields_set else self.partition
        path = None if file is None else os.path.abspath(file)
        return PartitionSettings(kind, alpha, **given, partition_hash=partition_hash, partition_file=path)


def still_used(preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a preset without those that another partition, asked for in `given`, has no use for."""
    chosen = given.get("partition") or ("file" if given.get("partition_file") else None)
    if chosen is None:
        return dict(preset)
    uses = {*find(chosen).options, "validation"}
    return {k: v for k, v in preset.items() if k in uses or k not in (*FIELDS, "partition")}
