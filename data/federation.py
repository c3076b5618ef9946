"""The Federation: the clients of one data set under one partition, who holds what, and the file it is kept in."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import DataError, unknown
from fedprompt.data.files import json_files as jsonfile
from fedprompt.data.partitions import files as partition_file
from fedprompt.data.partitions import settings as partition
from fedprompt.data.partitions.assignment import Part
from fedprompt.data.partitions.positions import check_positions, check_some, class_counts, set_aside
from fedprompt.data.partitions.settings import PartitionSettings

__all__ = ["Client", "Federation", "PartitionSettings", "build"]

PACKAGES = ("federated-prompt-bench", "numpy")  # whose versions a partition's draws depend on


@dataclass(frozen=True, eq=False)
class Client:
    """Positions int64 of a client's samples; held out: never trained on.

    `validation` are samples of the training arrays kept from training, for choosing settings.
    """

    train: Array
    test: Array
    held_out: bool
    domain: str | None = None
    validation: Array = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, eq=False)
class Federation:
    """Who holds which samples of a data set, and who is held out.

    `counts` of the training samples and `test_counts` are int64 [K, C]. `unused` are the training and test samples that
    no client holds. `test_part` says which arrays the clients' test positions count: those of "test", or of "train"
    where the data set has no test samples of its clients. `dropped` clients of the data set were too small.
    `drift` is the mean total variation distance, 0 to 1, between the class shares that a client wanted and those that
    it got: how far the limited stock, and samples being whole, bent the priors.
    """

    dataset: str
    identity: str
    settings: PartitionSettings
    classes: tuple[str, ...]
    clients: tuple[Client, ...]
    counts: Array
    test_counts: Array
    unused: tuple[int, int]
    drift: float
    test_part: Part = "test"
    dropped: int = 0

    @cached_property
    def priors(self) -> Array:
        """Each client's class shares among its training labels, float64 [K, C]."""
        return np.asarray(self.counts / self.counts.sum(axis=1, keepdims=True))

    @cached_property
    def seen(self) -> Array:
        """The ids int64 of the clients that training may sample."""
        return np.flatnonzero([not client.held_out for client in self.clients])

    @cached_property
    def held_out(self) -> Array:
        """The ids int64 of the clients that are never trained on."""
        return np.flatnonzero([client.held_out for client in self.clients])

    @cached_property
    def hash(self) -> str:
        """sha256 over the data's identity, the settings and every client; the name the data set goes by is left out."""
        facts = [self.identity, self.settings.facts(), round(self.drift, 6), self.test_part, self.dropped]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for client in self.clients:
            parts = (client.train, client.validation, client.test)
            digest.update(json.dumps([*map(len, parts), client.held_out, client.domain]).encode())
            for positions in parts:
                digest.update(positions.astype("<i8").tobytes())
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """What there is to say of the federation in numbers: clients, samples, sizes, and what was left out.

        `untested` clients have no test sample; `untrained` test samples are of a class that their client has no
        training sample of.
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
            "drift": self.drift,
        }

    def save(self, path: Path) -> None:
        """Writes the federation as JSON, whole or not at all."""
        clients = [
            {
                "train": c.train.tolist(),
                "validation": c.validation.tolist(),
                "test": c.test.tolist(),
                "held_out": c.held_out,
                "domain": c.domain,
            }
            for c in self.clients
        ]
        document = {
            "format": partition_file.FORMAT,
            "version": partition_file.VERSION,
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
        jsonfile.write(path, document)

    @classmethod
    def load(cls, path: Path, dataset: DataSet) -> "Federation":
        """The federation that was saved at `path`, checked against `dataset`.

        Raises DataError where the file is none, is of another version or another data set, or was changed.
        """
        saved = partition_file.parse(path)
        if saved.identity != dataset.identity:
            made_for = f"made for {saved.dataset} ({saved.identity}), not for {dataset.name} ({dataset.identity})"
            raise DataError(f"{path} was {made_for}: build it again, or use the data it was made for")
        clients = tuple(
            Client(_array(c.train), _array(c.test), c.held_out, c.domain, _array(c.validation)) for c in saved.clients
        )
        try:
            federation = _federation(dataset, saved.settings, clients, saved.drift, saved.test_part, saved.dropped)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        if federation.hash != saved.hash:
            raise DataError(f"{path} was changed after it was written: its content no longer gives its hash")
        return federation


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def _array(positions: Sequence[int]) -> Array:
    return np.array(positions, np.int64)


def build(dataset: DataSet, settings: PartitionSettings, stream: Callable[[str], np.random.Generator]) -> Federation:
    """Spreads `dataset` over clients by `settings`, sets validation samples aside and chooses the held-out clients.

    `stream` gives the generator for a purpose ("partition", "validation", "held-out"); none of the three choices moves
    another. A partition file that is a saved federation is that federation. Raises DataError where the settings or the
    file do not fit the data.
    """
    if settings.partition_file is None:
        return _built(dataset, settings, stream)
    path = Path(settings.partition_file)
    if partition.fingerprint(path) != settings.partition_hash:
        raise DataError(f"--partition-file {path} has changed since it was named")
    if not isinstance(partition_file.read(path), partition_file.IndexLists):
        if settings.held_out is not None or settings.validation:
            option = "--validation" if settings.validation else "--held-out"
            raise DataError(f"{option} has no effect with {path}: the file says it already, so drop one")
        return Federation.load(path, dataset)
    try:
        return _built(dataset, settings, stream)
    except DataError as error:
        raise DataError(f"{path} does not fit {dataset.name}: {error}") from error


def _built(dataset: DataSet, settings: PartitionSettings, stream: Callable[[str], np.random.Generator]) -> Federation:
    dealt = partition.find(settings.kind).spread(dataset, settings, stream("partition"))
    drift = 0.0
    if dealt.wanted is not None:
        got = class_counts(dataset.train_y, dealt.train, len(dataset.classes))
        distance = np.abs(dealt.wanted - got / got.sum(axis=1, keepdims=True)).sum(axis=1) / 2
        drift = float(distance.mean())
    train, validation = set_aside(dealt.train, settings.validation, stream("validation"))
    held_out = _held_out(settings, dealt.domains, stream("held-out")).tolist()
    clients = tuple(map(Client, train, dealt.test, held_out, dealt.domains, validation))
    return _federation(dataset, settings, clients, drift, dealt.test_part, dealt.dropped)


def _held_out(settings: PartitionSettings, domains: Sequence[str | None], rng: np.random.Generator) -> Array:
    """Which clients are held out, bool [K]: those of the domain named, or so many drawn at random."""
    name = settings.domain or settings.held_out
    if isinstance(name, str):
        known = {domain for domain in domains if domain is not None}
        if not known:
            raise DataError(f"--held-out {name} is no number, and the clients of {settings.label} have no domains")
        if name not in known:
            raise unknown("domain", name, known)
        if len(known) == 1:
            raise DataError(f"--held-out {name} leaves no client to train: it is the only domain")
        return np.array([domain == name for domain in domains])
    chosen = np.zeros(len(domains), dtype=bool)
    if len(domains) < 2:
        raise DataError(f"{settings.label} gives {len(domains)} client here: a federation has at least 2")
    chosen[rng.choice(len(domains), settings.held_out_clients(len(domains)), replace=False)] = True
    return chosen


def _federation(
    dataset: DataSet,
    settings: PartitionSettings,
    clients: tuple[Client, ...],
    drift: float,
    test_part: Part,
    dropped: int,
) -> Federation:
    train, test = [client.train for client in clients], [client.test for client in clients]
    kept = [np.concatenate([c.train, c.validation, c.test if test_part == "train" else c.test[:0]]) for c in clients]
    check_positions("train", kept, len(dataset.train_y))
    check_some(train)
    labels, tests = dataset.train_y, 0
    if test_part == "test":
        check_positions("test", test, len(dataset.test_y))
        labels, tests = dataset.test_y, sum(map(len, test))
    classes = len(dataset.classes)
    return Federation(
        dataset.name,
        dataset.identity,
        settings,
        dataset.classes,
        clients,
        class_counts(dataset.train_y, train, classes),
        class_counts(labels, test, classes),
        (len(dataset.train_y) - sum(map(len, kept)), len(dataset.test_y) - tests),
        drift,
        test_part,
        dropped,
    )
