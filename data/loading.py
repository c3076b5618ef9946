"""Loading data sets by name, with a cache."""

import logging
from dataclasses import replace
from functools import lru_cache
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from fedprompt.data.dataset import DataSet, hash_of_lines
from fedprompt.data.images.cache import find_unreadable
from fedprompt.data.images.decoding import ImageFiles, train_test_files
from fedprompt.data.registry import source

logger = logging.getLogger(__name__)


def identity(name: str, root: Path | None = None, skip_corrupt: bool = False) -> str:
    """Returns a short string that changes with the content of a data set. Raises DataError for an unknown name."""
    return load(name, root, skip_corrupt).identity if skip_corrupt else source(name, root).identity()


def load(name: str, root: Path | None = None, skip_corrupt: bool = False) -> DataSet:
    """Loads a data set; the last few are kept in memory.

    Args:
        name: A name of `registry.names()`, with its argument if it takes one.
        root: The folder for data sets; by default `registry.default_root()`.
        skip_corrupt: Exclude unreadable image files, and count them in a note. Decodes all images, once per machine.

    Raises:
        DataError: The name is unknown or the data cannot be read.
    """
    dataset = _load(name, root, identity(name, root))
    if not (skip_corrupt and isinstance(dataset.train_x, ImageFiles)):
        return dataset
    unreadable = frozenset(find_unreadable(dataset.train_x))
    return _without(dataset, unreadable) if unreadable else dataset


@lru_cache(maxsize=4)
def _load(name: str, root: Path | None, identity: str) -> DataSet:
    # The identity is part of the key so that changed files are read again.
    return source(name, root).load()


@lru_cache(maxsize=4)
def _without(dataset: DataSet, unreadable: frozenset[str]) -> DataSet:
    """Returns the data set without the unreadable files, and with another identity."""
    identity = f"{dataset.identity} without {hash_of_lines(sorted(unreadable))}"
    changes: dict[str, Any] = {}
    paths: dict[str, list[str]] = {}
    for part in ("train", "test"):
        files: ImageFiles = getattr(dataset, f"{part}_x")
        is_readable = [path not in unreadable for path in files.paths]
        paths[part] = list(compress(files.paths, is_readable))
        for field in (f"{part}_y", f"{part}_domains", f"{part}_clients"):
            if (values := getattr(dataset, field)) is not None:
                changes[field] = values[np.array(is_readable)]
    train_x, test_x = train_test_files(files.root, paths["train"], paths["test"], dataset.name, identity, files.store)
    note = f"{len(unreadable)} unreadable images excluded"
    logger.warning("%s: %s", dataset.name, note)
    return replace(dataset, train_x=train_x, test_x=test_x, identity=identity, notes=(*dataset.notes, note), **changes)
