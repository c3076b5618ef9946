"""The partition given by a file of index lists, as papers publish them."""

from pathlib import Path

import numpy as np

from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.partitions.assignment import Assignment, assign_test
from fedprompt.data.partitions.partition_files import IndexLists, read
from fedprompt.data.partitions.positions import check_not_empty, check_positions, class_counts
from fedprompt.data.partitions.registry import REQUIRED, partition


@partition("file", extra_options={"held_out": None, "partition_hash": REQUIRED})
def from_file(dataset: DataSet, rng: np.random.Generator, *, partition_file: str | None = None) -> Assignment:
    """The clients listed in the --partition-file, or a saved federation.

    If the file does not assign the test samples, each client gets test samples in proportion to the number and the
    classes of its training samples. Raises DataError if the lists do not fit the data set.
    """
    if partition_file is None:
        raise DataError("--partition file needs a --partition-file")
    lists = read(Path(partition_file))
    assert isinstance(lists, IndexLists), "a saved federation is loaded, not assigned"
    check_positions("train", lists.train, len(dataset.train_y))
    check_not_empty(lists.train)
    test = lists.test
    if test is None:
        counts = class_counts(dataset.train_y, lists.train, len(dataset.classes))
        sizes = counts.sum(axis=1)
        test = assign_test(dataset.test_y, counts / sizes[:, None], rng, sizes)
    train, test = ([np.sort(positions) for positions in part] for part in (lists.train, test))
    return Assignment(train, test, None, [None] * len(test))
