import numpy as np
import pytest
from sklearn.datasets import load_digits

from fedprompt.data import loading, registry


@pytest.fixture(scope="module")
def digits():
    return loading.load("digits")


def test_the_listed_counts_are_correct(digits):
    entry = next(entry for entry in registry.entries() if entry.name == "digits")
    assert (entry.classes, entry.train, entry.test) == (len(digits.classes), len(digits.train_y), len(digits.test_y))
    assert digits.identity == loading.identity("digits")


def test_values_0_to_16_are_scaled_to_0_to_255_in_three_equal_channels(digits):
    assert digits.train_x.shape == (1437, 8, 8, 3)
    assert (digits.train_x == digits.train_x[..., :1]).all()
    # v * 255 / 16: one step is 15.94; 8 becomes 127.5, which is rounded to 128
    levels = {0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255}
    assert set(np.unique(digits.train_x)) <= levels


def test_every_scan_is_in_exactly_one_part(digits):
    scans, labels = load_digits(return_X_y=True)
    ours = np.concatenate([digits.train_x, digits.test_x])[..., 0].reshape(-1, 64)
    back = np.column_stack([np.concatenate([digits.train_y, digits.test_y]), np.rint(ours / 255 * 16)])
    theirs = np.column_stack([labels, scans])
    assert sorted(map(tuple, back)) == sorted(map(tuple, theirs))


def test_both_parts_have_the_same_class_shares(digits):
    train, test = np.bincount(digits.train_y), np.bincount(digits.test_y)
    assert np.abs(test - (train + test) / 5).max() < 1
