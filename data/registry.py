"""The data sets by name. Adding one is adding a module to this package that registers a Source."""

import importlib
import os
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import ClassVar, TypeVar

from fedprompt.data import datasets
from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError, unknown
from fedprompt.data.files.archive import Archive


def default_root() -> Path:
    """The folder that data sets are kept in where none is named: $BENCH_DATA, else `datasets` here."""
    return Path(os.environ.get("BENCH_DATA") or "datasets")


class Source(ABC):
    """Where one data set comes from. A module that defines one must be cheap to import: heavy libraries go inside."""

    description: ClassVar[str]  # one line for `bench list datasets`
    classes: ClassVar[int | None] = None  # None where only the file knows
    train: ClassVar[int | None] = None  # samples
    test: ClassVar[int | None] = None
    domains: ClassVar[int | None] = None
    clients: ClassVar[int | None] = None  # natural ones
    terms: ClassVar[str] = ""  # licence, or terms of use
    archives: ClassVar[tuple[Archive, ...]] = ()  # what `bench data prepare` fetches and unpacks

    def __init__(self, name: str, root: Path | None) -> None:
        self.name = name  # as asked for, with the argument of a parametrised name
        self.argument = name.partition(":")[2]
        self.root = root  # the folder data sets are kept in
        self.home = root or default_root()

    def absent(self) -> list[Archive]:
        """The archives whose content is not below `home`."""
        return [archive for archive in self.archives if not (self.home / archive.target).exists()]

    def require(self) -> None:
        """Raises DataError, naming what to do, where an archive's content is absent."""
        if absent := self.absent():
            places = ", ".join(str(self.home / archive.target) for archive in absent[:3])
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            files = ", ".join(archive.file for archive in absent[:3]) + more
            raise DataError(
                f"{self.name}: {places}{more} is not there (another folder: --data-root)\n"
                f"`bench data prepare {self.name}` gets it; without a network: put {files} into {self.home} first"
            )

    @abstractmethod
    def identity(self) -> str:
        """A short string that changes when the content does, had without decoding the data."""

    @abstractmethod
    def load(self) -> DataSet:
        """The data set, carrying `self.name` and `self.identity()`."""


class FolderSource(Source):
    """A Source whose images lie in one folder, the target of its only archive."""

    @property
    def folder(self) -> Path:
        """Where the images lie."""
        return self.home / self.archives[0].target

    def identity(self) -> str:
        """What `load` finds: a hash of the list of its images."""
        return self.load().identity


@dataclass(frozen=True)
class Entry:
    """What is known of a data set before it is loaded; counts are None where only the file knows."""

    name: str
    description: str
    classes: int | None
    train: int | None
    test: int | None
    domains: int | None
    clients: int | None
    terms: str
    bytes: int  # of the archives; 0 where there is nothing to fetch


SourceType = TypeVar("SourceType", bound=type[Source])
_sources: dict[str, type[Source]] = {}


def register(name: str) -> Callable[[SourceType], SourceType]:
    """Class decorator that makes a Source available as `name`; `prefix:WORD` asks for an argument."""

    def enter(source: SourceType) -> SourceType:
        if name in _sources:
            raise DataError(f"data set {name!r} is registered twice")
        _sources[name] = source
        return source

    return enter


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules(datasets.__path__):
        importlib.import_module(f"{datasets.__name__}.{module.name}")


def names() -> list[str]:
    """The names of all data sets, sorted; a parametrised one as `prefix:WORD`."""
    _discover()
    return sorted(_sources)


def entries() -> list[Entry]:
    """One Entry for each data set, sorted by name; loads nothing."""
    return [_entry(name, _sources[name]) for name in names()]


def _entry(name: str, source: type[Source]) -> Entry:
    size = sum(archive.size for archive in source.archives)
    counts = (source.classes, source.train, source.test, source.domains, source.clients)
    return Entry(name, source.description, *counts, source.terms, size)


def source(name: str, root: Path | None = None) -> Source:
    """The Source called `name`, not loaded. Raises DataError for an unknown name or a missing argument."""
    prefix, _, argument = name.partition(":")
    for known in names():
        known_prefix, _, word = known.partition(":")
        if known_prefix == prefix:
            if word and not argument:
                raise DataError(f"data set {name!r} names no {word.lower()}: write {known}")
            if argument and not word:
                raise DataError(f"data set {name!r}: {known} takes nothing after a colon; write {known}")
            return _sources[known](name, root)
    raise unknown("data set", name, _sources)


def identity(name: str, root: Path | None = None, skip_corrupt: bool = False) -> str:
    """A short string that changes when the content of the data set does. Raises DataError for an unknown name."""
    return load(name, root, skip_corrupt).identity if skip_corrupt else source(name, root).identity()


def load(name: str, root: Path | None = None, skip_corrupt: bool = False) -> DataSet:
    """The data set called `name`, kept for the life of the process; `root` is the folder data sets are kept in.

    With `skip_corrupt` all image files are tried, once a machine, and the unreadable ones left out and counted in a
    note. Raises DataError for an unknown name or data that cannot be read.
    """
    dataset = _load(name, root, identity(name, root))
    if not skip_corrupt:
        return dataset
    from fedprompt.data.datasets.readable import readable

    return readable(dataset)


@lru_cache(maxsize=4)
def _load(name: str, root: Path | None, identity: str) -> DataSet:
    # The identity is part of the key, so a file that changed is read again.
    return source(name, root).load()
