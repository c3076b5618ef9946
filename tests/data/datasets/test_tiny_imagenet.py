import numpy as np
import pytest

from fedprompt.data import loading
from fedprompt.data.errors import DataError
from tests.data.made import image, tiny


def test_training_folders_are_the_classes_and_the_validation_split_is_test_data(tmp_path):
    tiny(tmp_path, classes=3, train=2, test=2)
    dataset = loading.load("tiny-imagenet", tmp_path)
    assert dataset.classes == ("n00000000", "n00000001", "n00000002")
    assert dataset.train_y.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.test_y.tolist() == [0, 0, 1, 1, 2, 2]
    assert abs(int(dataset.train_x[4][0, 0, 0]) - 80) < 3  # an image of class 2, up to JPEG


def test_classes_without_training_images_are_excluded_and_counted(tmp_path):
    tiny(tmp_path, classes=3, train=1, test=2)
    assert loading.load("tiny-imagenet", tmp_path).notes == (
        "2 of 8 validation images excluded: their classes have no training images",
    )


def test_grey_images_have_three_channels(tmp_path):
    tiny(tmp_path)
    grey = loading.load("tiny-imagenet", tmp_path).test_x[1]
    assert grey.shape == (64, 64, 3)
    assert (np.abs(grey.astype(int) - 31) < 3).all()


def test_an_added_file_changes_the_identity(tmp_path):
    folder = tiny(tmp_path)
    before = loading.load("tiny-imagenet", tmp_path)
    image(folder / "train/n00000001/images/n00000001_99.JPEG")
    after = loading.load("tiny-imagenet", tmp_path)
    assert before.identity != after.identity == loading.identity("tiny-imagenet", tmp_path)
    assert len(after.train_y) == len(before.train_y) + 1


def test_two_copies_have_one_identity(tmp_path):
    tiny(tmp_path / "a")
    tiny(tmp_path / "b")
    assert loading.identity("tiny-imagenet", tmp_path / "a") == loading.identity("tiny-imagenet", tmp_path / "b")


@pytest.mark.parametrize("part", ["train", "val/val_annotations.txt", "val/images"])
def test_an_absent_part_is_named(tmp_path, part):
    path = tiny(tmp_path) / part
    path.rename(tmp_path / "away")
    with pytest.raises(DataError, match=f"{part} is missing\n.*bench data prepare tiny-imagenet"):
        loading.load("tiny-imagenet", tmp_path)


def test_annotations_of_absent_images_are_refused(tmp_path):
    folder = tiny(tmp_path)
    (folder / "val" / "images" / "val_0.JPEG").unlink()
    with pytest.raises(DataError, match=r"val_annotations.txt lists 1 files that are not in .*: val/images/val_0.JPEG"):
        loading.load("tiny-imagenet", tmp_path)


def test_annotations_in_another_format_are_refused(tmp_path):
    folder = tiny(tmp_path)
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG n00000000\n")
    with pytest.raises(DataError, match=r"need FILE tab WNID, not 'val_0.JPEG n00000000'"):
        loading.load("tiny-imagenet", tmp_path)
