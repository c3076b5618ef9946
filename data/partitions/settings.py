"""Partition settings: how the samples of a data set are divided among clients."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError, reason, unknown
from fedprompt.data.partitions.assignment import Assignment
from fedprompt.data.partitions.registry import HELD_OUT, REQUIRED, find

ALPHA_RANGE = (1e-6, 1e6)  # beyond it, draws are one-hot or uniform to float precision
LARGEST_SIGMA = 3.0  # beyond it, one client has nearly all samples


@dataclass(frozen=True)
class PartitionSettings:
    """How a data set is divided among clients.

    An option that is None takes the default of the partition. An option that the partition does not use is refused.

    Raises:
        DataError: An option is invalid, missing or not used by the partition.
    """

    kind: str = "dirichlet"  # a name of `registry.names()`
    alpha: float | None = None  # concentration of the Dirichlet distribution
    clients: int | None = None  # number of clients
    held_out: float | str | None = None  # never trained on: a share below 1, a number of clients, or their domain
    validation: float = 0.0  # share of each client's training samples that is set aside
    sizes: str | None = None  # "equal" or "lognormal" client sizes
    size_sigma: float | None = None  # standard deviation of the logarithm of log-normal sizes
    samples_per_client: int | None = None  # training samples of a client of equal size; None: all of them
    classes_per_client: int | None = None  # number of classes per pathological client
    clients_per_domain: int | None = None  # number of clients that share a domain
    domain: str | None = None  # the domain that leave-one-domain-out holds out
    min_samples: int | None = None  # training samples of the smallest natural client
    partition_hash: str | None = None  # sha256 of the partition file
    partition_file: str | None = field(default=None, compare=False)  # its path

    def __post_init__(self) -> None:
        options = find(self.kind).options
        if self.partition_file is not None and "partition_hash" not in options:
            raise _no_effect("partition_file", self.partition_file, f"--partition {self.kind}")
        if self.partition_file is not None and self.partition_hash is None:
            self._set("partition_hash", fingerprint(Path(self.partition_file)))
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is None:
                value = options.get(name)
            elif name not in options:
                raise _no_effect(name, value, f"--partition {self.kind}")
            if value is REQUIRED:
                raise DataError(f"{_flag(name)} is missing: --partition {self.kind} needs it")
            # Checks normalise the type, so that equivalent settings are equal and have the same hash.
            self._set(name, None if value is None else check(_flag(name), value))
        self._set("validation", _share("--validation", self.validation))
        self._check_pairs(options)
        if self.clients is not None and not isinstance(self.held_out, str):
            self.held_out_clients(self.clients)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_pairs(self, options: Mapping[str, Any]) -> None:
        if self.sizes == "lognormal":
            self._set("size_sigma", 1.0 if self.size_sigma is None else self.size_sigma)
            if self.samples_per_client is not None:
                raise _no_effect("samples_per_client", self.samples_per_client, "--sizes lognormal")
        elif self.size_sigma is not None:
            raise _no_effect("size_sigma", self.size_sigma, f"--sizes {self.sizes}")
        if "clients_per_domain" in options:
            if self.clients is None:
                self._set("clients_per_domain", self.clients_per_domain or 1)
            elif self.clients_per_domain is not None:
                raise _no_effect("clients_per_domain", self.clients_per_domain, f"--clients {self.clients}")

    def held_out_clients(self, clients: int) -> int:
        """Returns the number of held-out clients. Raises DataError if no client remains for training."""
        share = HELD_OUT if self.held_out is None else float(self.held_out)
        count = max(1, round(share * clients)) if 0 < share < 1 else int(share)
        if count > clients - 1:
            raise DataError(
                f"--held-out {share:g} leaves no client to train: at most {clients - 1} of {clients} clients"
            )
        return count

    def assign(self, dataset: DataSet, rng: np.random.Generator) -> Assignment:
        """Assigns samples of `dataset` to clients. Raises DataError if the settings do not fit it."""
        kind = find(self.kind)
        return kind.function(dataset, rng, **{name: getattr(self, name) for name in kind.parameters})

    def facts(self) -> dict[str, Any]:
        """Returns the settings that are not None, except the path of the partition file, for a hash or a file."""
        return {k: v for k, v in asdict(self).items() if v is not None and k != "partition_file"}

    @property
    def label(self) -> str:
        """The kind and its main options, such as "dirichlet(0.05)", "iid" or "file(1a2b3c4d)"."""
        words = [
            None if self.alpha is None else f"{self.alpha:g}",
            None if self.size_sigma is None else f"{self.sizes} {self.size_sigma:g}",
            None if self.classes_per_client is None else str(self.classes_per_client),
            f"{self.clients_per_domain} a domain" if (self.clients_per_domain or 1) > 1 else None,
            self.domain,
            f"min {self.min_samples}" if (self.min_samples or 1) > 1 else None,
            self.partition_hash and self.partition_hash[:8],
        ]
        options = ", ".join(word for word in words if word)
        return f"{self.kind}({options})" if options else self.kind


def fingerprint(path: Path) -> str:
    """Returns the sha256 of a partition file. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"--partition-file {path} cannot be read: {reason(error)}") from error


def _flag(name: str) -> str:
    return "--partition-file" if name == "partition_hash" else "--" + name.replace("_", "-")


def _no_effect(name: str, value: Any, cause: str) -> DataError:
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return DataError(f"{_flag(name)} {shown} has no effect with {cause}: remove one")


def _integer(least: int) -> Callable[[str, Any], int]:
    def check(option: str, value: Any) -> int:
        if not (isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())):
            raise DataError(f"{option} {value} is not a whole number")
        if value < least:
            raise DataError(f"{option} {value:g} is too small: at least {least}")
        return int(value)

    return check


def _alpha(option: str, value: float) -> float:
    low, high = ALPHA_RANGE
    if not low <= value <= high:
        raise DataError(f"{option} {value:g} is not in {low:g} to {high:g}; 0.05 is strongly skewed, 100 is nearly iid")
    return float(value)


def _sigma(option: str, value: float) -> float:
    if not 0 < value <= LARGEST_SIGMA:
        raise DataError(f"{option} {value:g} must be above 0 and at most {LARGEST_SIGMA:g}; 0.3 is mild, 1 is strong")
    return float(value)


def _share(option: str, value: float) -> float:
    if not 0 <= value < 1:
        raise DataError(f"{option} {value:g} is not a share: need 0 or more and less than 1")
    return float(value)


def _held_out(option: str, value: float | str) -> float | str:
    if isinstance(value, str):
        return value
    if not value >= 0:
        raise DataError(f"{option} {value:g} is not a share below 1, a number of clients or a domain")
    return float(value) if value < 1 else float(_integer(0)(option, value))


def _sizes(option: str, value: str) -> str:
    if value not in ("equal", "lognormal"):
        raise unknown(option, value, ("equal", "lognormal"))
    return value


def _text(option: str, value: str) -> str:
    if not value:
        raise DataError(f"{option} is empty")
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "alpha": _alpha,
    "clients": _integer(2),
    "held_out": _held_out,
    "sizes": _sizes,
    "size_sigma": _sigma,
    "samples_per_client": _integer(1),
    "classes_per_client": _integer(1),
    "clients_per_domain": _integer(1),
    "domain": _text,
    "min_samples": _integer(1),
    "partition_hash": _text,
}
