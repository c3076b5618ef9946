"""`synthetic:SIZES`: made images for clients of real sizes, to try the scale of a federation without its data."""

from functools import cache
from pathlib import Path

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import unknown
from fedprompt.data.registry import Source, register

SIZES = Path(__file__).parent / "sizes" / "inaturalist.npz"
CLASSES = 1_203
CONCENTRATION = 20.0  # ours: 13 images show 10 classes on average, 120 images 39
TESTS_OF_EACH_CLASS = 3
SIDE = 8
SEED = 0


@register("synthetic:SIZES")
class Synthetic(Source):
    """As many clients and samples as a published split of iNaturalist has; everything else is made up."""

    description = f"NOT iNaturalist: made images for its real client sizes ({SIZES.stem}-user-120k, -geo-100|1k|3k)"
    classes = CLASSES
    terms = "none: images made by this program, client sizes are published counts"

    def identity(self) -> str:
        """The version of the making and the split whose sizes it has; raise it with any change below."""
        return f"synthetic-1:{self.argument}"

    def load(self) -> DataSet:
        """Images uint8 [N, 8, 8, 3], client by client: the pattern of a class under as much noise.

        Each client draws its class shares from a Dirichlet of equal weights and total `CONCENTRATION`. Test images
        name no client, as the published ones do not. Raises DataError for sizes that are not shipped.
        """
        if self.argument not in client_sizes():
            raise unknown("client sizes", self.argument, client_sizes())
        sizes = client_sizes()[self.argument]
        rng = np.random.default_rng(SEED)
        patterns = rng.integers(0, 128, (CLASSES, SIDE, SIDE, 3), np.uint8)
        train_y, test_y = skewed_labels(sizes, rng), np.repeat(np.arange(CLASSES), TESTS_OF_EACH_CLASS)
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
            notes=(f"made images: only the client sizes are those of {self.argument}; accuracies mean nothing",),
        )


@cache
def client_sizes() -> dict[str, Array]:
    """Training images int64 [K] of every client, for each split that is shipped."""
    with np.load(SIZES) as file:
        return {name: file[name].astype(np.int64) for name in file.files}


def skewed_labels(sizes: Array, rng: np.random.Generator) -> Array:
    """Labels int64 [sum(sizes)], client by client, each client's from its own draw of a symmetric Dirichlet.

    The urn of Blackwell and MacQueen (1973) gives the same labels without a table of clients x classes: a client's
    sample i is of a fresh class with probability a / (a + i), else of the class of one of the i before it.
    """
    place = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)  # i, from 0 for each client
    fresh = rng.random(len(place)) * (CONCENTRATION + place) < CONCENTRATION
    earlier = np.arange(len(place)) - place + (rng.random(len(place)) * place).astype(np.int64)
    origin = np.where(fresh, np.arange(len(place)), earlier)
    while not fresh[origin].all():
        origin = origin[origin]  # each step doubles the distance followed back
    return rng.integers(0, CLASSES, len(place))[origin]


def _noisy(patterns: Array, rng: np.random.Generator) -> Array:
    return patterns + rng.integers(0, 128, patterns.shape, np.uint8)
