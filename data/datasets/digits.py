"""scikit-learn's digits: real 8x8 scans that need no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.registry import Source, register


@register("digits")
class Digits(Source):
    """1,797 scans with values 0 to 16, scaled to uint8 and repeated over three channels."""

    description = "real 8x8 scans of handwritten digits, shipped with scikit-learn"
    classes, train, test = 10, 1437, 360

    def identity(self) -> str:
        """Returns the version of the conversion and the split. Increase it with any change of `load`."""
        return "digits-1"

    def load(self) -> DataSet:
        """Returns images uint8 [N, 8, 8, 3].

        The split is fixed: every fifth scan in class order is a test scan, so both parts have the same class shares.
        """
        scans, labels = _read()
        gray = np.rint(scans * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
        images = np.repeat(gray, 3, axis=3)
        is_test = np.zeros(len(labels), dtype=bool)
        is_test[np.argsort(labels, kind="stable")[::5]] = True
        return DataSet(
            self.name,
            images[~is_test],
            labels[~is_test],
            images[is_test],
            labels[is_test],
            classes=tuple("0123456789"),
            identity=self.identity(),
            split_rule="every fifth scan in class order is a test scan",
        )


def _read() -> tuple[np.ndarray, np.ndarray]:
    """Returns scans [N, 64] and labels [N] as `sklearn.datasets.load_digits` does, without its import of 0.8 s.

    Raises:
        DataError: The installed scikit-learn has no such file.
    """
    package = find_spec("sklearn")
    path = Path(str(package.origin if package else "sklearn")).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataError(f"digits: {path} is missing; reinstall scikit-learn.")
    table = np.loadtxt(path, delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)
