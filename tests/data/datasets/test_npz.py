import io
import re
import struct
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from fedprompt.data import loading
from fedprompt.data.errors import DataError
from tests.data.made import shared


def arrays(**changes):
    good = {
        "train_x": np.zeros((4, 2, 2, 3), np.uint8),
        "train_y": np.array([0, 1, 0, 1], np.uint8),
        "test_x": np.zeros((2, 2, 2, 3), np.uint8),
        "test_y": np.array([0, 1], np.int16),
    }
    return good | changes


def write(path, **changes):
    np.savez(path, **{name: array for name, array in arrays(**changes).items() if array is not None})
    return f"npz:{path}"


def test_labels_of_any_integer_type_become_int64(tmp_path):
    dataset = loading.load(write(tmp_path / "a.npz"))
    assert dataset.train_y.dtype == dataset.test_y.dtype == np.int64
    assert dataset.train_y.tolist() == [0, 1, 0, 1]
    assert dataset.classes == ("0", "1")


def test_a_test_label_absent_from_training_is_a_class(tmp_path):
    assert len(loading.load(write(tmp_path / "a.npz", test_y=np.array([0, 4]))).classes) == 5


def test_a_relative_path_is_relative_to_the_data_root(tmp_path):
    write(tmp_path / "a.npz")
    assert loading.load("npz:a.npz", tmp_path).name == "npz:a.npz"


def test_a_file_that_changed_has_a_new_identity_and_is_read_again(tmp_path):
    name = write(tmp_path / "a.npz")
    before = loading.load(name)
    assert before.identity == loading.identity(name)
    write(tmp_path / "a.npz", test_y=np.array([1, 1, 1]), test_x=np.zeros((3, 2, 2, 3), np.uint8))
    after = loading.load(name)
    assert after.identity == loading.identity(name) != before.identity
    assert after.test_y.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_y": None, "test_x": None}, "contains train_x, test_y; missing train_y, test_x"),
        ({"train_x": np.zeros((4, 2, 2, 3))}, "train_x is float64; need uint8 from 0 to 255"),
        ({"train_x": np.zeros((4, 2, 2), np.uint8)}, "train_x has shape (4, 2, 2); need [N, H, W, 3] (grayscale"),
        ({"test_x": np.zeros((2, 12), np.uint8)}, "test_x has shape (2, 12); need [N, H, W, 3]"),
        ({"test_y": np.array([0, 1, 1])}, "test_y has 3 entries but test_x has 2 images"),
        ({"test_y": np.array([[0], [1]])}, "test_y is int64 of shape (2, 1); need int64 of shape [N]"),
        ({"train_y": np.array([0, 1, -1, 0])}, "train_y contains the label -1; need labels from 0"),
        ({"train_y": np.array([0, 1, 10**9, 0])}, "train_y contains the label 1000000000; need at most 24999"),
        ({"train_y": np.array([0.0, 1, 0, 1])}, "train_y is float64; need integer labels from 0"),
        ({"train_y": np.array([0, 1, 0, None])}, "train_y is damaged or contains Python objects; need numbers"),
    ],
)
def test_a_wrong_array_is_named_with_what_is_needed(tmp_path, changes, message):
    name = write(tmp_path / "a.npz", **changes)
    with pytest.raises(DataError, match=re.escape(f"{name}: {message}")):
        loading.load(name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"cannot read {tmp_path / 'none.npz'}: no such file or directory")):
        loading.load(f"npz:{tmp_path / 'none.npz'}")


def test_a_folder_is_not_a_data_set(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        loading.load(f"npz:{tmp_path}")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=re.escape("not an .npz file, or truncated")):
        loading.load(f"npz:{tmp_path / 'a.npz'}")


def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path):
    write(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(DataError):
            loading.load(f"npz:{tmp_path / 'cut.npz'}")


def test_flipped_bytes_inside_an_array_are_noticed(tmp_path):
    write(tmp_path / "a.npz", train_x=np.full((4, 2, 2, 3), 77, np.uint8))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content.replace(bytes([77] * 48), bytes([78] * 48)))
    with pytest.raises(DataError, match="train_x is damaged"):
        loading.load(f"npz:{tmp_path / 'a.npz'}")


def test_a_single_array_is_not_a_data_set(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match=re.escape("a single array (.npy); need an .npz with train_x")):
        loading.load(f"npz:{tmp_path / 'a.npy'}")


def test_real_images_load_as_they_are():
    dataset = loading.load(f"npz:{shared('cifar10.subset-500train-100test.npz')}")
    assert dataset.train_x.shape == (5000, 32, 32, 3)
    assert np.bincount(dataset.train_y).tolist() == [500] * 10
    assert np.bincount(dataset.test_y).tolist() == [100] * 10
    assert 100 < dataset.train_x.mean() < 140


def crafted(path, header, compression=zipfile.ZIP_STORED):
    """An .npz whose train_x has this header, in front of 48 bytes."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, array in arrays().items():
            np.save(buffer := io.BytesIO(), array)
            content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(48)
            file.writestr(f"{name}.npy", content if name == "train_x" else buffer.getvalue())
    return f"npz:{path}"


@pytest.mark.parametrize("shape", ["(1000000000000, 2, 2, 3)", "(16777216, 8, 8, 3)", f"({'9' * 4000},)"])
def test_an_array_that_claims_more_than_its_file_holds_is_refused_before_memory_is_allocated(tmp_path, shape):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    with pytest.raises(DataError, match=r"train_x claims the shape \(.*, but has only 48 bytes"):
        loading.load(crafted(tmp_path / "a.npz", header))


@pytest.mark.parametrize("header", [b"(" * 3000, b"-" * 9000 + b"1", b"[" * 9000, b'{\'descr\': """', b"{}", b"\xff"])
def test_a_header_that_is_no_description_of_an_array_is_refused(tmp_path, header):
    with pytest.raises(DataError, match="train_x is damaged or contains Python objects"):
        loading.load(crafted(tmp_path / "a.npz", header + b"\n"))


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damaged_compressed_data_are_refused(tmp_path, compression):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4, 2, 2, 3), }\n"
    name = crafted(tmp_path / "a.npz", header, compression)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    place = content.find(b"train_x.npy") + 25
    content[place : place + 20] = b"\xff" * 20
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="is damaged or contains Python objects"):
        loading.load(name)


def test_arrays_larger_than_the_memory_are_refused(tmp_path, monkeypatch):
    name = write(tmp_path / "a.npz")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100))
    with pytest.raises(DataError, match="its arrays have 0 MiB, and 0 MiB of memory are available; use image files"):
        loading.load(name)
