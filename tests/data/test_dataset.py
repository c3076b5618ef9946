import re
from pathlib import Path

import numpy as np
import pytest

from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.images.decoding import ImageFiles


def parts(**changes):
    good = {
        "name": "pets",
        "train_x": np.zeros((4, 2, 2, 3), np.uint8),
        "train_y": np.array([0, 1, 0, 1]),
        "test_x": np.zeros((2, 2, 2, 3), np.uint8),
        "test_y": np.array([0, 1]),
        "classes": ("cat", "dog"),
    }
    return good | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_x": np.zeros((4, 2, 2, 3), np.float32)}, "train_x is float32; need uint8"),
        ({"test_x": np.zeros((2, 2, 2), np.uint8)}, "test_x has shape (2, 2, 2); need [N, H, W, 3] (grayscale"),
        ({"test_x": np.zeros((2, 2, 2, 1), np.uint8)}, "grayscale? np.repeat"),
        ({"test_x": np.zeros((2, 3, 2, 2), np.uint8)}, "channels first?"),
        ({"train_x": np.zeros((0, 2, 2, 3), np.uint8)}, "train_x is empty (shape (0, 2, 2, 3)); need at least one"),
        ({"test_x": np.zeros((2, 4, 4, 3), np.uint8)}, "train_x has 2x2 images but test_x has 4x4"),
        ({"train_y": np.array([0, 1, 0])}, "train_y has 3 entries but train_x has 4 images"),
        ({"train_y": np.array([0, 1, 0, 2])}, "train_y ranges from 0 to 2; need 0 to 1"),
        ({"test_y": np.array([-1, 1])}, "test_y ranges from -1 to 1; need 0 to 1"),
        ({"test_y": np.array([0, 1], np.int32)}, "test_y is int32 of shape (2,); need int64 of shape [N]"),
        ({"domains": ("photo",)}, "train_domains is missing, but domains has 1 names"),
        ({"train_domains": np.zeros(4, np.int64)}, "train_domains is given, but domains is empty"),
        ({"client_names": ("ann",)}, "train_clients is missing, but client_names has 1 names"),
        ({"train_clients": np.zeros(4, np.int64)}, "train_clients is given, but client_names is empty"),
        ({"test_clients": np.zeros(2, np.int64)}, "test_clients is given, but client_names is empty"),
        (
            {"client_names": ("ann",), "train_clients": np.array([0, 0, 1, 0])},
            "train_clients ranges from 0 to 1; need 0 to 0",
        ),
        ({"train_x": ImageFiles(Path(), ["a"] * 4, "pets", "1")}, "must both be arrays or both be image files"),
        ({"test_x": ImageFiles(Path(), [], "pets", "1")}, "test_x is empty; need at least one image"),
        ({"test_x": ImageFiles(Path(), ["a"], "pets", "1")}, "test_y has 2 entries but test_x has 1 images"),
    ],
)
def test_inconsistent_arrays_are_refused_by_name(changes, message):
    with pytest.raises(DataError, match=f"pets: .*{re.escape(message)}"):
        DataSet(**parts(**changes))


def test_domains_are_positions_in_their_names():
    domains = {"train_domains": np.array([0, 0, 1, 1]), "test_domains": np.array([0, 1])}
    assert DataSet(**parts(**domains, domains=("photo", "sketch"))).domains == ("photo", "sketch")
    with pytest.raises(DataError, match="train_domains ranges from 0 to 1; need 0 to 0"):
        DataSet(**parts(**domains, domains=("photo",)))


def test_natural_clients_of_the_test_images_may_be_unknown():
    clients = {"client_names": ("ann", "bob"), "train_clients": np.array([1, 0, 0, 1])}
    assert DataSet(**parts(**clients)).test_clients is None
    assert DataSet(**parts(**clients, test_clients=np.array([1, 1]))).identity != DataSet(**parts(**clients)).identity


def test_the_identity_of_files_is_that_of_their_data_set_and_paths():
    def of(key, *paths):
        files = ImageFiles(Path(), paths, "pets", key)
        return DataSet(**parts(train_x=files.view(0, 4), test_x=files.view(4, 6))).identity

    first = of("1", *"abcdef")
    assert of("1", *"abcdef") == first
    assert len({first, of("2", *"abcdef"), of("1", *"abcdfe")}) == 3


def test_identity_follows_the_content_and_not_the_name():
    first = DataSet(**parts())
    assert DataSet(**parts(name="animals")).identity == first.identity
    for change in ({"test_y": np.array([1, 1])}, {"classes": ("cat", "fox")}, {"train_x": np.ones((4, 2, 2, 3), "u1")}):
        assert DataSet(**parts(**change)).identity != first.identity
    assert DataSet(**parts(identity="pets-1")).identity == "pets-1"
