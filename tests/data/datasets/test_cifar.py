import pickle

import numpy as np
import pytest

from fedprompt.data import loading, registry
from fedprompt.data.errors import DataError
from tests.data.made import cifar


@pytest.mark.parametrize(("name", "train", "classes"), [("cifar10", 50, 10), ("cifar100", 10, 100)])
def test_torchvision_reads_the_pickles_into_arrays(tmp_path, monkeypatch, name, train, classes):
    cifar(tmp_path, name, monkeypatch)
    dataset = loading.load(name, tmp_path)
    assert isinstance(dataset.train_x, np.ndarray)
    assert dataset.train_x.shape == (train, 32, 32, 3)
    assert dataset.test_x.shape == (10, 32, 32, 3)
    assert dataset.classes == tuple(f"thing {i}" for i in range(classes))
    assert dataset.test_y.tolist() == [(7 * i) % classes for i in range(10)]
    assert dataset.identity == loading.identity(name, tmp_path / "none")  # known without the data


def test_a_row_of_3072_bytes_is_red_green_and_blue_planes(tmp_path, monkeypatch):
    cifar(tmp_path, "cifar100", monkeypatch)
    row = pickle.loads((tmp_path / "cifar-100-python" / "train").read_bytes())["data"][3]
    image = loading.load("cifar100", tmp_path).train_x[3]
    assert image[5, 7].tolist() == [row[5 * 32 + 7], row[1024 + 5 * 32 + 7], row[2048 + 5 * 32 + 7]]


def test_files_that_are_not_the_published_ones_are_refused(tmp_path, monkeypatch):
    cifar(tmp_path, "cifar100", monkeypatch)
    file = tmp_path / "cifar-100-python" / "test"
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(
        DataError, match=r"differ from the published ones \(md5\)\ndelete that folder, then run `bench data prepare"
    ):
        loading.load("cifar100", tmp_path)


def test_for_an_absent_data_set_the_error_names_the_command_and_the_file(tmp_path):
    with pytest.raises(DataError, match=r"cifar100: not found: .*\nrun `bench data prepare cifar100`.*") as error:
        loading.load("cifar100", tmp_path)
    assert f"put cifar-100-python.tar.gz into {tmp_path}" in str(error.value)


def test_the_published_md5s_are_torchvisions():
    from torchvision import datasets

    for name in ("cifar10", "cifar100"):
        (archive,) = registry.source(name).archives
        reader = getattr(datasets, name.upper())
        assert (archive.file, archive.md5, archive.url) == (reader.filename, reader.tgz_md5, reader.url)
        assert archive.target == reader.base_folder
