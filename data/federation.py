"""The Federation: the clients of a data set under a partition, their samples, and its file format."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import DataError, unknown
from fedprompt.data.files import json_files
from fedprompt.data.label_skew import LabelSkew, label_skew, total_variation
from fedprompt.data.partitions import partition_files
from fedprompt.data.partitions.assignment import Part
from fedprompt.data.partitions.positions import check_not_empty, check_positions, class_counts, set_aside
from fedprompt.data.partitions.settings import PartitionSettings, fingerprint

PACKAGES = ("fedprompt-bench", "numpy")  # their versions affect random draws


@dataclass(frozen=True, eq=False)
class Client:
    """The samples of a client, as positions int64 in the arrays of the data set."""

    train: Array
    test: Array
    held_out: bool  # whether the client is never trained on
    domain: str | None = None  # its domain, if it has one
    validation: Array = field(default_factory=lambda: np.empty(0, np.int64))  # not in `train`


@dataclass(frozen=True, eq=False)
class Federation:
    """The clients of a data set.

    `drift` is above 0 where classes run out, and because samples are indivisible.
    """

    dataset: str  # name of the data set
    identity: str  # identity of the data set
    settings: PartitionSettings  # the settings of the partition
    classes: tuple[str, ...]  # class names
    clients: tuple[Client, ...]  # the clients; a client's position is its id
    counts: Array  # training samples per client and class, int64 [K, C]
    test_counts: Array  # test samples per client and class, int64 [K, C]
    unused: tuple[int, int]  # numbers of training and test samples that no client has
    drift: float  # mean total variation distance between target and actual class shares, 0 to 1
    test_part: Part = "test"  # what test positions refer to: "train" if training images are set aside
    dropped: int = 0  # number of clients of the data set that were too small

    @cached_property
    def priors(self) -> Array:
        """Class shares of the training samples per client, float64 [K, C]."""
        return np.asarray(self.counts / self.counts.sum(axis=1, keepdims=True))

    @cached_property
    def seen(self) -> Array:
        """Ids int64 of the clients that training can sample."""
        return np.flatnonzero([not client.held_out for client in self.clients])

    @cached_property
    def held_out(self) -> Array:
        """Ids int64 of the clients that are never trained on."""
        return np.flatnonzero([client.held_out for client in self.clients])

    @cached_property
    def label_skew(self) -> LabelSkew:
        """The label skew that the clients have."""
        return label_skew(self.counts, self.test_counts, self.seen, self.drift)

    @cached_property
    def hash(self) -> str:
        """sha256 of the identity of the data set, the settings and all clients, but not of the data set's name."""
        facts = [self.identity, self.settings.facts(), round(self.drift, 6), self.test_part, self.dropped]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for client in self.clients:
            parts = (client.train, client.validation, client.test)
            digest.update(json.dumps([*map(len, parts), client.held_out, client.domain]).encode())
            for positions in parts:
                digest.update(positions.astype("<i8").tobytes())
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """Returns the numbers of clients and samples, the client sizes, what is unused, and the label skew.

        `untested` is the number of clients without a test sample. `untrained` is the number of test samples whose class
        is not among the training samples of their client.
        """
        sizes = self.counts.sum(axis=1)
        return {
            "clients": len(self.clients),
            "held_out": len(self.held_out),
            "dropped": self.dropped,
            "train": int(sizes.sum()),
            "validation": sum(len(client.validation) for client in self.clients),
            "test": int(self.test_counts.sum()),
            "smallest": int(sizes.min()),
            "median": float(np.median(sizes)),
            "largest": int(sizes.max()),
            "untested": int((self.test_counts.sum(axis=1) == 0).sum()),
            "untrained": int(self.test_counts[self.counts == 0].sum()),
            "unused": list(self.unused),
            **asdict(self.label_skew),
        }

    def save(self, path: Path) -> None:
        """Writes the federation as JSON, atomically. Raises OSError if that fails."""
        parts = ("train", "validation", "test")
        clients = [
            {part: getattr(client, part).tolist() for part in parts}
            | {"held_out": client.held_out, "domain": client.domain}
            for client in self.clients
        ]
        document = {
            "format": partition_files.FORMAT,
            "version": partition_files.VERSION,
            "made_with": {package: _version(package) for package in PACKAGES},
            "dataset": self.dataset,
            "identity": self.identity,
            "settings": self.settings.facts(),
            "drift": self.drift,
            "test_part": self.test_part,
            "dropped": self.dropped,
            "hash": self.hash,
            "clients": clients,
        }
        json_files.write(path, document)

    @classmethod
    def load(cls, path: Path, dataset: DataSet) -> "Federation":
        """Reads the federation saved at `path`.

        Raises:
            DataError: The file is not a federation of `dataset`, has another version, or was modified.
        """
        saved = partition_files.read_federation(path)
        if saved.identity != dataset.identity:
            difference = f"for {saved.dataset} ({saved.identity}), not {dataset.name} ({dataset.identity})"
            raise DataError(f"{path} is {difference}: build it again, or use that data set")
        clients = tuple(
            Client(_array(c.train), _array(c.test), c.held_out, c.domain, _array(c.validation)) for c in saved.clients
        )
        try:
            federation = _federation(dataset, saved.settings, clients, saved.drift, saved.test_part, saved.dropped)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        if federation.hash != saved.hash:
            raise DataError(f"{path} was modified: its content does not match its hash")
        return federation


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def _array(positions: Sequence[int]) -> Array:
    return np.array(positions, np.int64)


def build(dataset: DataSet, settings: PartitionSettings, stream: Callable[[str], np.random.Generator]) -> Federation:
    """Divides a data set among clients, sets validation samples aside and chooses the held-out clients.

    If the partition file is a saved federation, returns that federation.

    Args:
        dataset: The data set.
        settings: The settings of the partition.
        stream: Returns the generator for a purpose: "partition", "validation" or "held-out". The three are independent.

    Raises:
        DataError: The settings or the partition file do not fit the data set.
    """
    if settings.partition_file is None:
        return _build(dataset, settings, stream)
    path = Path(settings.partition_file)
    if fingerprint(path) != settings.partition_hash:
        raise DataError(f"--partition-file {path} has changed since this run was configured")
    if not isinstance(partition_files.read(path), partition_files.IndexLists):
        if settings.held_out is not None or settings.validation:
            option = "--validation" if settings.validation else "--held-out"
            raise DataError(f"{option} has no effect with {path}: the file defines it, so remove one")
        return Federation.load(path, dataset)
    try:
        return _build(dataset, settings, stream)
    except DataError as error:
        raise DataError(f"{path} does not fit {dataset.name}: {error}") from error


def _build(dataset: DataSet, settings: PartitionSettings, stream: Callable[[str], np.random.Generator]) -> Federation:
    assignment = settings.assign(dataset, stream("partition"))
    drift = 0.0
    if assignment.target_shares is not None:
        counts = class_counts(dataset.train_y, assignment.train, len(dataset.classes))
        actual_shares = counts / counts.sum(axis=1, keepdims=True)
        drift = float(total_variation(assignment.target_shares, actual_shares).mean())
    train, validation = set_aside(assignment.train, settings.validation, stream("validation"))
    held_out = _held_out(settings, assignment.domains, stream("held-out")).tolist()
    clients = tuple(map(Client, train, assignment.test, held_out, assignment.domains, validation))
    return _federation(dataset, settings, clients, drift, assignment.test_part, assignment.dropped)


def _held_out(settings: PartitionSettings, domains: Sequence[str | None], rng: np.random.Generator) -> Array:
    """Returns which clients are held out, bool [K]: those of the given domain, or a random choice."""
    name = settings.domain or settings.held_out
    if isinstance(name, str):
        known = {domain for domain in domains if domain is not None}
        if not known:
            raise DataError(f"--held-out {name} is not a number, and the clients of {settings.label} have no domains")
        if name not in known:
            raise unknown("domain", name, known)
        if len(known) == 1:
            raise DataError(f"--held-out {name} leaves no client to train: it is the only domain")
        return np.array([domain == name for domain in domains])
    if len(domains) < 2:
        raise DataError(f"{settings.label} gives {len(domains)} client here: a federation needs at least 2")
    is_held_out = np.zeros(len(domains), dtype=bool)
    is_held_out[rng.choice(len(domains), settings.held_out_clients(len(domains)), replace=False)] = True
    return is_held_out


def _federation(
    dataset: DataSet,
    settings: PartitionSettings,
    clients: tuple[Client, ...],
    drift: float,
    test_part: Part,
    dropped: int,
) -> Federation:
    """Checks the clients' positions and counts their samples."""
    train, test = [client.train for client in clients], [client.test for client in clients]
    used = [np.concatenate([c.train, c.validation, c.test if test_part == "train" else c.test[:0]]) for c in clients]
    check_positions("train", used, len(dataset.train_y))
    check_not_empty(train)
    labels, used_tests = dataset.train_y, 0
    if test_part == "test":
        check_positions("test", test, len(dataset.test_y))
        labels, used_tests = dataset.test_y, sum(map(len, test))
    classes = len(dataset.classes)
    return Federation(
        dataset.name,
        dataset.identity,
        settings,
        dataset.classes,
        clients,
        class_counts(dataset.train_y, train, classes),
        class_counts(labels, test, classes),
        (len(dataset.train_y) - sum(map(len, used)), len(dataset.test_y) - used_tests),
        drift,
        test_part,
        dropped,
    )
