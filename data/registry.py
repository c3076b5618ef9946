"""The data sets by name. To add one, add a module that registers a `Source` to `fedprompt.data.datasets`."""

import importlib
import os
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, TypeVar

from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import SHOWN, DataError, unknown
from fedprompt.data.files.archive import Archive


def default_root() -> Path:
    """Returns the default folder for data sets: $BENCH_DATA, or `datasets` in the working directory."""
    return Path(os.environ.get("BENCH_DATA") or "datasets")


class Source(ABC):
    """Loads one data set. Listing imports its module, so import heavy libraries inside the methods."""

    description: ClassVar[str]  # one line for `bench list datasets`
    classes: ClassVar[int | None] = None  # None: known only once the data set is loaded
    train: ClassVar[int | None] = None  # samples
    test: ClassVar[int | None] = None
    domains: ClassVar[int | None] = None
    clients: ClassVar[int | None] = None  # natural clients
    terms: ClassVar[str] = ""  # licence or terms of use
    archives: ClassVar[tuple[Archive, ...]] = ()  # downloaded and unpacked by `bench data prepare`

    def __init__(self, name: str, root: Path | None) -> None:
        self.name = name  # as requested, including an argument
        self.argument = name.partition(":")[2]
        self.root = root  # the requested folder for data sets
        self.home = root or default_root()

    @property
    def argument_path(self) -> Path:
        """The argument as a path, relative to the requested root or the working directory."""
        return (self.root or Path()) / Path(self.argument).expanduser()

    def words(self, known: Collection[str]) -> tuple[list[str], dict[str, str]]:
        """Returns the words of the argument `WORD[:WORD...][:OPTION=VALUE...]`. Raises DataError for other options."""
        parts = self.argument.split(":")
        options = dict(part.split("=", 1) for part in parts if "=" in part)
        for name, value in options.items():
            if name not in known:
                raise unknown(f"option of {self.name.partition(':')[0]} data sets", name, known)
            if not value:
                raise DataError(f"{self.name}: {name}= has no value; write {name}=VALUE")
        return [part for part in parts if "=" not in part], options

    def absent(self) -> list[Archive]:
        """Returns the archives whose content is missing."""
        return [archive for archive in self.archives if not (self.home / archive.target).exists()]

    def require(self) -> None:
        """Raises DataError, with a remedy, if the content of an archive is missing."""
        if absent := self.absent():
            more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
            targets = ", ".join(str(self.home / archive.target) for archive in absent[:SHOWN]) + more
            files = ", ".join(archive.file for archive in absent[:SHOWN]) + more
            raise DataError(
                f"{self.name}: not found: {targets} (use --data-root for another folder)\n"
                f"run `bench data prepare {self.name}`; without network access, first put {files} into {self.home}"
            )

    def download(self) -> None:
        """Downloads a data set without archives, for `bench data prepare`. Override this if a library can do it."""
        raise DataError(f"{self.name} needs no preparation; `bench data verify {self.name}` checks it")

    def identity(self) -> str:
        """Returns a short string that changes with the content. Override this if it is known without loading."""
        return self.load().identity

    @abstractmethod
    def load(self) -> DataSet:
        """Returns the data set, with `self.name` and `self.identity()`."""


class FolderSource(Source):
    """A Source whose images are in one folder, the content of its only archive."""

    @property
    def folder(self) -> Path:
        """The folder with the images."""
        return self.home / self.archives[0].target


@dataclass(frozen=True)
class Entry:
    """A row of the list of data sets; a count is None if it is known only once the data set is loaded."""

    name: str
    description: str
    classes: int | None
    train: int | None
    test: int | None
    domains: int | None
    clients: int | None
    terms: str
    bytes: int  # of the archives; 0 without a download


SourceType = TypeVar("SourceType", bound=type[Source])
_sources: dict[str, type[Source]] = {}


def register(name: str) -> Callable[[SourceType], SourceType]:
    """Class decorator that registers a Source as `name`; "prefix:WORD" requires an argument after the colon."""

    def add(source: SourceType) -> SourceType:
        if name in _sources:
            raise DataError(f"data set {name!r} is registered twice")
        _sources[name] = source
        return source

    return add


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "datasets")]):
        importlib.import_module(f"{__package__}.datasets.{module.name}")


def names() -> list[str]:
    """Returns the names of all data sets, sorted; a parametrised one as "prefix:WORD"."""
    _discover()
    return sorted(_sources)


def entries() -> list[Entry]:
    """Returns one entry per data set, sorted by name, without loading any."""
    return [_entry(name, _sources[name]) for name in names()]


def _entry(name: str, source: type[Source]) -> Entry:
    size = sum(archive.size for archive in source.archives)
    counts = (source.classes, source.train, source.test, source.domains, source.clients)
    return Entry(name, source.description, *counts, source.terms, size)


def source(name: str, root: Path | None = None) -> Source:
    """Returns the Source of a data set. Raises DataError for an unknown name or a missing argument."""
    prefix, _, argument = name.partition(":")
    for known in names():
        known_prefix, _, word = known.partition(":")
        if known_prefix == prefix:
            if word and not argument:
                raise DataError(f"data set {name!r} needs more than its name: write {known}")
            if argument and not word:
                raise DataError(f"data set {name!r}: {known} takes no argument; write {known}")
            return _sources[known](name, root)
    raise unknown("data set", name, _sources)
