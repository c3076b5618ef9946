"""scikit-learn's digits: real 8x8 scans that need no download."""

import numpy as np

from fedprompt.data.dataset import DataSet
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
        from sklearn.datasets import load_digits

        scans, labels = load_digits(return_X_y=True)
        gray = np.rint(scans * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
        images = np.repeat(gray, 3, axis=3)
        labels = labels.astype(np.int64)
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
