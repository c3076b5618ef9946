import numpy as np
import pytest

from fedprompt.data import loading
from fedprompt.data.datasets import prepare
from fedprompt.data.datasets.torchvision_sets import LAYOUTS
from fedprompt.data.errors import DataError
from fedprompt.data.images.cache import load_decoded
from tests.data import torchvision_made as made


def load(root, name):
    return loading.load(f"torchvision:{name}", root)


def labelled(dataset, part):
    """Pairs of file name and class name."""
    names = [path.rpartition("/")[2] for path in getattr(dataset, f"{part}_x").paths]
    return list(zip(names, [dataset.classes[y] for y in getattr(dataset, f"{part}_y")], strict=True))


def test_every_layout_is_a_class_of_torchvision():
    from torchvision import datasets

    assert set(LAYOUTS) <= set(datasets.__all__)


def test_images_stay_files_and_the_published_test_split_is_used(tmp_path):
    made.food101(tmp_path)
    dataset = load(tmp_path, "Food101")
    assert dataset.classes == ("apple_pie", "waffles")
    assert labelled(dataset, "test") == [("test0.jpg", "apple_pie"), ("test0.jpg", "waffles")]
    assert dataset.train_y.tolist() == [0] * 3 + [1] * 3
    assert dataset.train_x[0].shape == (6, 9, 3)
    assert dataset.split_rule == "torchvision's train images; its test images are the test data"


def test_validation_images_are_training_data_where_there_are_test_images(tmp_path):
    made.dtd(tmp_path)
    dataset = load(tmp_path, "DTD")
    assert [name for name, _ in labelled(dataset, "train")] == [
        f"{label}_{part}.jpg" for part in ("train", "val") for label in ("banded", "dotted")
    ]
    assert "train and val" in dataset.split_rule


def test_an_option_of_torchvision_may_be_set_in_the_name(tmp_path):
    made.dtd(tmp_path)
    first, second = load(tmp_path, "DTD"), load(tmp_path, "DTD:partition=2")
    assert second.test_x.paths == [path.replace("test", "train") for path in first.test_x.paths]
    assert first.identity != second.identity


@pytest.mark.parametrize(("name", "make"), [("EuroSAT", made.eurosat), ("Caltech101", made.caltech101)])
def test_without_a_published_split_a_fifth_of_each_class_is_drawn_with_a_fixed_seed(tmp_path, name, make):
    make(tmp_path)
    dataset = load(tmp_path, name)
    assert len(dataset.classes) == 2
    assert np.bincount(dataset.test_y).tolist() == (np.bincount(dataset.train_y) / 4).tolist()
    assert not set(dataset.train_x.paths) & set(dataset.test_x.paths)
    assert dataset.split_rule.endswith("drawn once with seed 0, is the test data")
    assert all(label in path for path, label in zip(dataset.train_x.paths, labels_of(dataset), strict=True))


def labels_of(dataset):
    return [dataset.classes[y] for y in dataset.train_y]


@pytest.mark.parametrize(
    ("name", "make", "test"),
    [
        ("OxfordIIITPet", made.pets, [("Abyssinian_3.jpg", "Abyssinian"), ("beagle_3.jpg", "Beagle")]),
        ("FGVCAircraft", made.aircraft, [("10.jpg", "737-700"), ("11.jpg", "A320")]),
        ("FGVCAircraft:annotation_level=family", made.aircraft, [("10.jpg", "Boeing 737"), ("11.jpg", "A320")]),
        ("StanfordCars", made.cars, [("1.jpg", "BMW M3"), ("2.jpg", "Audi TT")]),
    ],
)
def test_labels_are_those_that_torchvision_gives(tmp_path, name, make, test):
    make(tmp_path)
    assert labelled(load(tmp_path, name), "test") == test


def test_channels_first_arrays_become_images(tmp_path, monkeypatch):
    made.svhn(tmp_path, monkeypatch)
    dataset = load(tmp_path, "SVHN")
    assert dataset.train_x.shape == (4, 32, 32, 3)
    assert dataset.train_x[:, 5, 6].tolist() == [[0, 10 * k, 0] for k in range(4)]
    assert dataset.classes == ("0", "7", "8", "9")
    assert dataset.train_y.tolist() == [0, 3, 2, 1]


def test_grey_images_have_three_equal_channels(tmp_path):
    made.idx(tmp_path, "FashionMNIST")
    dataset = load(tmp_path, "FashionMNIST")
    assert dataset.test_x.shape == (3, 28, 28, 3)
    assert (dataset.test_x[2] == 2).all()
    assert dataset.classes[0] == "Trouser"  # the first class has no image here
    assert dataset.split_rule == "torchvision's training images; its test images are the test data"


def test_emnist_has_the_classes_of_its_split(tmp_path):
    made.idx(tmp_path, "EMNIST", "emnist-letters-", 27)
    assert load(tmp_path, "EMNIST:split=letters").classes == tuple("abcdef")
    with pytest.raises(DataError, match="torchvision cannot read"):
        load(tmp_path, "EMNIST")  # the balanced split is not there


def test_images_in_one_large_file_are_decoded_on_demand(tmp_path):
    h5py = pytest.importorskip("h5py", reason="torchvision reads PCAM with h5py, which is not installed")
    made.pcam(tmp_path, h5py)
    dataset = load(tmp_path, "PCAM")
    assert dataset.train_y.tolist() == [0, 1, 0, 1, 0, 1]  # training and validation images
    assert dataset.train_x[3][0, 0].tolist() == [0, 0, 60]
    decoded = load_decoded(dataset.test_x, 8, folder=tmp_path / "cache")
    assert decoded[:, 4, 4].tolist() == [[0, 0, 0], [0, 0, 20]]


def test_a_file_that_changed_is_read_again(tmp_path):
    made.eurosat(tmp_path)
    before = load(tmp_path, "EuroSAT")
    assert load(tmp_path, "EuroSAT") is before
    made.image(tmp_path / "eurosat" / "2750" / "River" / "River_new.jpg")
    after = load(tmp_path, "EuroSAT")
    assert len(after.train_y) + len(after.test_y) == 21
    assert after.identity != before.identity


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Food101", "not found: .*food-101 .*\nrun `bench data prepare torchvision:Food101`; without network"),
        ("food101", "unknown torchvision data set 'food101'; did you mean 'Food101'"),
        ("Food101:split=test", "unknown option of torchvision data sets 'split'"),
        ("DTD:partition=x", "DTD:partition=x: an option is not a whole number"),
        ("DTD:partition=", "partition= has no value"),
    ],
)
def test_an_absent_set_or_a_wrong_name_is_refused_with_the_remedy(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, name)


def test_an_image_that_is_missing_is_named(tmp_path):
    made.food101(tmp_path)
    (tmp_path / "food-101" / "images" / "waffles" / "test0.jpg").unlink()
    with pytest.raises(DataError, match=r"Food101 lists 1 files that are not in .*waffles/test0.jpg"):
        load(tmp_path, "Food101")


def test_damaged_metadata_is_refused(tmp_path):
    made.food101(tmp_path)
    (tmp_path / "food-101" / "meta" / "test.json").write_text("{")
    with pytest.raises(DataError, match=r"torchvision cannot read .*food-101: "):
        load(tmp_path, "Food101")


def test_prepare_downloads_with_torchvision_and_verifies(tmp_path, monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets.EuroSAT, "download", lambda self: made.eurosat(tmp_path))
    assert prepare.prepare("torchvision:EuroSAT", tmp_path).test == 4

    def fail(self):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.DTD, "_download", fail)
    with pytest.raises(DataError, match="cannot download it: no route to host\ndownload it on another machine"):
        prepare.prepare("torchvision:DTD", tmp_path)
