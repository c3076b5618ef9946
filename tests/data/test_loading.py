import logging

import pytest

from fedprompt.data import loading
from fedprompt.data.errors import DataError
from tests.data.made import image


def pets(root):
    for label in ("cat", "dog"):
        for k in range(5):
            image(root / "own" / "photo" / label / f"{k}.png")
    lines = [f"photo/{label}/{k}.png,{k}" for label in ("cat", "dog") for k in range(5)]
    (root / "own" / "clients.csv").write_text("\n".join(["path,client", *lines]))
    return root / "own"


def test_a_data_set_without_unreadable_images_is_unchanged(tmp_path):
    pets(tmp_path)
    dataset = loading.load("imagefolder:own", tmp_path)
    assert loading.load("imagefolder:own", tmp_path, skip_corrupt=True) is dataset
    assert loading.identity("imagefolder:own", tmp_path, skip_corrupt=True) == dataset.identity
    assert loading.load("digits", skip_corrupt=True) is loading.load("digits")


def test_unreadable_images_are_excluded_with_their_labels_and_clients(tmp_path, caplog):
    folder = pets(tmp_path)
    (folder / "photo" / "cat" / "0.png").write_bytes(b"no image")
    (folder / "photo" / "dog" / "2.png").write_bytes(b"no image")  # the test image of its class
    whole = loading.load("imagefolder:own", tmp_path)
    with caplog.at_level(logging.WARNING):
        dataset = loading.load("imagefolder:own", tmp_path, skip_corrupt=True)
    assert dataset.train_x.paths == [p for p in whole.train_x.paths if p != "photo/cat/0.png"]
    assert dataset.test_x.paths == ["photo/cat/2.png"]
    assert dataset.train_y.tolist() == [0] * 3 + [1] * 4
    assert dataset.train_clients.tolist() == [1, 3, 4, 0, 1, 3, 4]
    assert len(dataset.train_domains) == 7
    assert dataset.notes == ("2 unreadable images excluded",)
    assert "2 unreadable images excluded" in caplog.text
    assert dataset.identity != whole.identity
    assert loading.load("imagefolder:own", tmp_path, skip_corrupt=True) is dataset


def test_a_split_without_readable_images_is_refused(tmp_path):
    folder = pets(tmp_path)
    for label in ("cat", "dog"):
        (folder / "photo" / label / "2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="test_x is empty"):
        loading.load("imagefolder:own", tmp_path, skip_corrupt=True)
