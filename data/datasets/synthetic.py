"""`synthetic:SIZES`: generated images with published client sizes, to test at the scale of a real federation."""

from functools import cache
from pathlib import Path

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import unknown
from fedprompt.data.registry import Source, register

SIZES = Path(__file__).parent / "sizes" / "inaturalist.npz"
CLASSES = 1_203
CONCENTRATION = 20.0  # our choice: 13 images have 10 classes on average, 120 images 39
TESTS_PER_CLASS = 3
SIDE = 8
SEED = 0


@register("synthetic:SIZES")
class Synthetic(Source):
    """The numbers of clients and samples are those of a published split of iNaturalist; all else is generated."""

    description = (
        f"NOT iNaturalist: generated images with its real client sizes ({SIZES.stem}-user-120k, -geo-100|1k|3k)"
    )
    classes = CLASSES
    terms = "none: generated images; the client sizes are published counts"

    def identity(self) -> str:
        """Returns the version of the generator and the name of the split. Increase it with any change below."""
        return f"synthetic-1:{self.argument}"

    def load(self) -> DataSet:
        """Returns images uint8 [N, 8, 8, 3] in order of client: a pattern per class plus noise of equal amplitude.

        Class shares per client are drawn from a symmetric Dirichlet distribution with total weight `CONCENTRATION`.
        Test images have no client, as in the published split. Raises DataError for unknown sizes.
        """
        if self.argument not in client_sizes():
            raise unknown("client sizes", self.argument, client_sizes())
        sizes = client_sizes()[self.argument]
        rng = np.random.default_rng(SEED)
        patterns = rng.integers(0, 128, (CLASSES, SIDE, SIDE, 3), np.uint8)
        train_y, test_y = skewed_labels(sizes, rng), np.repeat(np.arange(CLASSES), TESTS_PER_CLASS)
        return DataSet(
            self.name,
            _noisy(patterns[train_y], rng),
            train_y,
            _noisy(patterns[test_y], rng),
            test_y,
            tuple(f"made class {c}" for c in range(CLASSES)),
            train_clients=np.repeat(np.arange(len(sizes)), sizes),
            client_names=tuple(map(str, range(len(sizes)))),
            identity=self.identity(),
            split_rule=f"{TESTS_PER_CLASS} generated test images per class",
            notes=(f"generated images with the client sizes of {self.argument}; accuracies have no meaning",),
        )


@cache
def client_sizes() -> dict[str, Array]:
    """Returns the number of training images per client, int64 [K], for each included split."""
    with np.load(SIZES) as file:
        return {name: file[name].astype(np.int64) for name in file.files}


def skewed_labels(sizes: Array, rng: np.random.Generator) -> Array:
    """Draws labels int64 [sum(sizes)] in order of client, with class shares per client from a symmetric Dirichlet.

    The urn scheme of Blackwell and MacQueen (1973) gives this distribution without a table of clients x classes: sample
    i of a client has a new class with probability a / (a + i), else the class of a random earlier sample.
    """
    index = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)  # i, from 0 per client
    is_new = rng.random(len(index)) * (CONCENTRATION + index) < CONCENTRATION
    earlier = np.arange(len(index)) - index + (rng.random(len(index)) * index).astype(np.int64)
    origin = np.where(is_new, np.arange(len(index)), earlier)
    while not is_new[origin].all():
        origin = origin[origin]  # doubles the number of steps followed back
    return rng.integers(0, CLASSES, len(index))[origin]


def _noisy(patterns: Array, rng: np.random.Generator) -> Array:
    return patterns + rng.integers(0, 128, patterns.shape, np.uint8)
