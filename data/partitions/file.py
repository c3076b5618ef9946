"""The partition that a file says: index lists, as papers publish them."""

from pathlib import Path

import numpy as np

from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.partitions.assignment import Assignment, hand_out_tests
from fedprompt.data.partitions.files import IndexLists, read
from fedprompt.data.partitions.positions import check_positions, check_some, class_counts
from fedprompt.data.partitions.registry import REQUIRED, partition


@partition("file", chosen={"held_out": None, "partition_hash": REQUIRED})
def from_file(dataset: DataSet, rng: np.random.Generator, *, partition_file: str | None = None) -> Assignment:
    """The clients that a --partition-file lists, or a federation saved before.

    Where index lists name no test samples, the test split is dealt out in proportion to the clients' training samples,
    in sizes and in class shares. Raises DataError where the lists do not fit the data.
    """
    if partition_file is None:
        raise DataError("--partition file needs a --partition-file")
    lists = read(Path(partition_file))
    assert isinstance(lists, IndexLists), "a saved federation needs no spreading"
    check_positions("train", lists.train, len(dataset.train_y))
    check_some(lists.train)
    test = lists.test
    if test is None:
        counts = class_counts(dataset.train_y, lists.train, len(dataset.classes))
        sizes = counts.sum(axis=1)
        test = hand_out_tests(dataset.test_y, counts / sizes[:, None], rng, sizes)
    return Assignment([np.sort(own) for own in lists.train], [np.sort(own) for own in test], None, [None] * len(test))
