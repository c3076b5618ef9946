"""How the samples of a data set are spread over its clients: the settings, checked."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

from fedprompt.data.errors import DataError, unknown
from fedprompt.data.partitions.registry import HELD_OUT, REQUIRED, find, names

__all__ = ["PartitionSettings", "find", "fingerprint", "names"]

ALPHA_RANGE = (1e-6, 1e6)  # beyond, the draw is one-hot or uniform to float precision
LARGEST_SIGMA = 3.0  # beyond, one client holds nearly everything


@dataclass(frozen=True)
class PartitionSettings:
    """How a data set is spread over clients; raises DataError for settings that cannot be met.

    None stands for the partition's own default and is replaced by it; a setting that the partition does not use is
    refused. `held_out` below 1 is a share of the clients (at least one where above 0), from 1 on a number of clients,
    a word the domain whose clients they are. `validation` is the share of each client's training samples set aside.
    `partition_file` is where the file of that hash lies: no part of what the settings mean.
    """

    kind: str = "dirichlet"
    alpha: float | None = None
    clients: int | None = None
    held_out: float | str | None = None
    validation: float = 0.0
    sizes: str | None = None
    size_sigma: float | None = None
    classes_per_client: int | None = None
    clients_per_domain: int | None = None
    domain: str | None = None
    min_samples: int | None = None
    partition_hash: str | None = None
    partition_file: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        uses = find(self.kind).uses
        if self.partition_file is not None and "partition_hash" not in uses:
            raise _no_effect("partition_file", self.partition_file, f"--partition {self.kind}")
        if self.partition_file is not None and self.partition_hash is None:
            self._set("partition_hash", fingerprint(Path(self.partition_file)))
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is None:
                value = uses.get(name)
            elif name not in uses:
                raise _no_effect(name, value, f"--partition {self.kind}")
            if value is REQUIRED:
                raise DataError(f"{_option(name)} is missing: --partition {self.kind} needs it")
            # One form for one meaning, so that equal settings are equal and hash alike.
            self._set(name, None if value is None else check(_option(name), value))
        self._set("validation", _share("--validation", self.validation))
        self._check_pairs(uses)
        if self.clients is not None and not isinstance(self.held_out, str):
            self.held_out_clients(self.clients)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_pairs(self, uses: Mapping[str, Any]) -> None:
        if self.sizes == "lognormal":
            self._set("size_sigma", 1.0 if self.size_sigma is None else self.size_sigma)
        elif self.size_sigma is not None:
            raise _no_effect("size_sigma", self.size_sigma, f"--sizes {self.sizes}")
        if "clients_per_domain" in uses:
            if self.clients is None:
                self._set("clients_per_domain", self.clients_per_domain or 1)
            elif self.clients_per_domain is not None:
                raise _no_effect("clients_per_domain", self.clients_per_domain, f"--clients {self.clients}")

    def held_out_clients(self, clients: int) -> int:
        """How many of so many clients are never trained on. Raises DataError where none would be left to train."""
        share = HELD_OUT if self.held_out is None else float(self.held_out)
        count = max(1, round(share * clients)) if 0 < share < 1 else int(share)
        if count > clients - 1:
            most = f"{clients} clients, so at most {clients - 1}"
            raise DataError(f"--held-out {share:g} leaves no client to train: {most}")
        return count

    def facts(self) -> dict[str, Any]:
        """What the settings mean, for a hash or a file: those that are not None."""
        return {k: v for k, v in asdict(self).items() if v is not None and k != "partition_file"}

    @property
    def label(self) -> str:
        """The kind with what it uses, such as "dirichlet(0.05)", "iid" or "file(1a2b3c4d)"."""
        words = [
            None if self.alpha is None else f"{self.alpha:g}",
            None if self.size_sigma is None else f"{self.sizes} {self.size_sigma:g}",
            None if self.classes_per_client is None else str(self.classes_per_client),
            f"{self.clients_per_domain} a domain" if (self.clients_per_domain or 1) > 1 else None,
            self.domain,
            f"min {self.min_samples}" if (self.min_samples or 1) > 1 else None,
            self.partition_hash and self.partition_hash[:8],
        ]
        known = ", ".join(word for word in words if word)
        return f"{self.kind}({known})" if known else self.kind


def fingerprint(path: Path) -> str:
    """The sha256 of a partition file. Raises DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"--partition-file {path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"--partition-file {path} cannot be read: {error.strerror}") from error


def _option(name: str) -> str:
    return "--partition-file" if name == "partition_hash" else "--" + name.replace("_", "-")


def _no_effect(name: str, value: Any, cause: str) -> DataError:
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return DataError(f"{_option(name)} {shown} has no effect with {cause}: drop one")


def _whole(least: int) -> Callable[[str, Any], int]:
    def check(option: str, value: Any) -> int:
        if not (isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())):
            raise DataError(f"{option} {value} is not a whole number")
        if value < least:
            raise DataError(f"{option} {value:g} is too few: at least {least}")
        return int(value)

    return check


def _alpha(option: str, value: float) -> float:
    low, high = ALPHA_RANGE
    if not low <= value <= high:
        raise DataError(f"{option} {value:g} is not in {low:g} to {high:g}; 0.05 is skewed, 100 nearly iid")
    return float(value)


def _sigma(option: str, value: float) -> float:
    if not 0 < value <= LARGEST_SIGMA:
        raise DataError(f"{option} {value:g} is not above 0 and at most {LARGEST_SIGMA:g}; 0.3 is mild, 1 is strong")
    return float(value)


def _share(option: str, value: float) -> float:
    if not 0 <= value < 1:
        raise DataError(f"{option} {value:g} is not a share from 0 to below 1")
    return float(value)


def _held_out(option: str, value: float | str) -> float | str:
    if isinstance(value, str):
        return value
    if not value >= 0:
        raise DataError(f"{option} {value:g} is not a share below 1, a number of clients from 0 or a domain")
    return float(value) if value < 1 else float(_whole(0)(option, value))


def _sizes(option: str, value: str) -> str:
    if value not in ("equal", "lognormal"):
        raise unknown(option, value, ("equal", "lognormal"))
    return value


def _word(option: str, value: str) -> str:
    if not value:
        raise DataError(f"{option} is empty")
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "alpha": _alpha,
    "clients": _whole(2),
    "held_out": _held_out,
    "sizes": _sizes,
    "size_sigma": _sigma,
    "classes_per_client": _whole(1),
    "clients_per_domain": _whole(1),
    "domain": _word,
    "min_samples": _whole(1),
    "partition_hash": _word,
}
