"""A data set without the images that cannot be decoded, for who asks to skip them."""

import logging
from dataclasses import replace
from functools import lru_cache
from itertools import compress
from typing import Any

import numpy as np

from fedprompt.data.dataset import DataSet
from fedprompt.data.datasets.listing import hash_of
from fedprompt.data.images import cache
from fedprompt.data.images.decoding import ImageFiles, album

logger = logging.getLogger(__name__)


def readable(dataset: DataSet) -> DataSet:
    """`dataset` without unreadable image files, which a note and a warning count; itself where there are none.

    All images are tried, once a machine. The identity changes with what is left out.
    """
    if not isinstance(dataset.train_x, ImageFiles):
        return dataset
    faults = frozenset(cache.unreadable(dataset.train_x))
    return _without(dataset, faults) if faults else dataset


@lru_cache(maxsize=4)
def _without(dataset: DataSet, faults: frozenset[str]) -> DataSet:
    key = f"{dataset.identity} without {hash_of(sorted(faults))}"
    changes: dict[str, Any] = {}
    paths: dict[str, list[str]] = {}
    for part in ("train", "test"):
        files: ImageFiles = getattr(dataset, f"{part}_x")
        keep = [path not in faults for path in files.paths]
        paths[part] = list(compress(files.paths, keep))
        for field in (f"{part}_y", f"{part}_domains", f"{part}_clients"):
            if (values := getattr(dataset, field)) is not None:
                changes[field] = values[np.array(keep)]
    train_x, test_x = album(files.root, paths["train"], paths["test"], dataset.name, key)
    note = f"{len(faults)} unreadable images left out"
    logger.warning("%s: %s", dataset.name, note)
    return replace(dataset, train_x=train_x, test_x=test_x, identity=key, notes=(*dataset.notes, note), **changes)
