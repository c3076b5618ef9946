import errno
import os
import re
from pathlib import Path

import pytest

from fedprompt.data import loading
from fedprompt.data.errors import DataError
from tests.data.made import image


def folder(root, *tops, count=5):
    for top in tops:
        for k in range(count):
            image(root / "own" / top / f"{k}.png", size=(6 + k, 7))
    return root / "own"


def test_folders_are_classes_and_every_fifth_image_is_a_test_image(tmp_path):
    folder(tmp_path, "cat", "dog")
    dataset = loading.load("imagefolder:own", tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert dataset.domains == dataset.client_names == ()
    assert dataset.test_x.paths == ["cat/2.png", "dog/2.png"]
    assert dataset.train_y.tolist() == [0] * 4 + [1] * 4


def test_two_levels_are_domains_and_classes(tmp_path):
    folder(tmp_path, "photo/cat", "photo/dog", "sketch/cat")
    dataset = loading.load("imagefolder:own", tmp_path)
    assert (dataset.domains, dataset.classes) == (("photo", "sketch"), ("cat", "dog"))
    assert dataset.test_domains.tolist() == [0, 0, 1]
    assert dataset.test_y.tolist() == [0, 1, 0]


@pytest.mark.parametrize("domain", ["", "photo/"])
def test_train_and_test_folders_are_the_split(tmp_path, domain):
    folder(tmp_path, f"train/{domain}cat", f"test/{domain}cat", f"test/{domain}cow", count=2)
    dataset = loading.load("imagefolder:own", tmp_path)
    assert dataset.classes == ("cat", "cow")
    assert dataset.train_x.paths == [f"train/{domain}cat/{k}.png" for k in (0, 1)]
    assert dataset.test_y.tolist() == [0, 0, 1, 1]


def test_a_csv_file_names_the_clients(tmp_path):
    root = folder(tmp_path, "cat")
    lines = [f"{'b' if k < 2 else 'a'},cat/{k}.png" for k in range(5)]
    (root / "clients.csv").write_text("\n".join(["client,path", *lines]))
    dataset = loading.load("imagefolder:own", tmp_path)
    assert dataset.client_names == ("a", "b")
    assert dataset.train_clients.tolist() == [1, 1, 0, 0]
    assert dataset.test_clients.tolist() == [0]


def test_images_in_a_test_folder_need_no_client(tmp_path):
    root = folder(tmp_path, "train/cat", "test/cat", count=1)
    (root / "clients.csv").write_text("path,client\ntrain/cat/0.png,ann\n")
    assert loading.load("imagefolder:own", tmp_path).test_clients is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,client"], "has no column path; its header is: file, client"),
        (["path,client", "cat/9.png,a"], "clients.csv lists 1 images that do not exist: cat/9.png"),
        (["path,client", "cat/0.png,a"], "has no client for cat/1.png; each training image needs one"),
        (["path,client", "cat/0.png,a", "cat/0.png,b"], "cat/0.png has two clients, a and b"),
        (["path,client", "../x.png,a"], "the path '../x.png' is not inside"),
    ],
)
def test_a_csv_file_that_does_not_fit_the_images_is_refused(tmp_path, lines, message):
    (folder(tmp_path, "cat") / "clients.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=re.escape(message)):
        loading.load("imagefolder:own", tmp_path)


def test_images_and_folders_of_images_side_by_side_are_refused(tmp_path):
    folder(tmp_path, "photo", "photo/cat")
    with pytest.raises(DataError, match="contains both images and folders of images"):
        loading.load("imagefolder:own", tmp_path)


def test_a_folder_that_is_absent_or_empty_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"folder not found: .*own; it needs a subfolder per class"):
        loading.load("imagefolder:own", tmp_path)
    (tmp_path / "own" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="contains no images; need PATH/CLASS"):
        loading.load("imagefolder:own", tmp_path)


def test_too_few_images_to_test_on_are_refused(tmp_path):
    folder(tmp_path, "cat", count=2)
    with pytest.raises(DataError, match=r"no test images in .*; need at least one"):
        loading.load("imagefolder:own", tmp_path)


def test_an_image_that_changed_gives_a_new_identity(tmp_path):
    path = folder(tmp_path, "cat")
    before = loading.identity("imagefolder:own", tmp_path)
    image(path / "cat" / "0.png", size=(90, 90))
    assert loading.identity("imagefolder:own", tmp_path) != before


def test_names_that_are_not_utf8_are_loaded_and_identified(tmp_path):
    folder(tmp_path, "cat", "caf\udce9")
    dataset = loading.load("imagefolder:own", tmp_path)
    assert dataset.classes == ("caf\udce9", "cat")
    assert dataset.identity.startswith("sha256:")


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    scandir = os.scandir

    def denied(path):
        if Path(path).name == "dog":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    for name in ("cat", "dog"):
        image(tmp_path / name / "1.jpg")
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'dog'} cannot be read: permission denied")):
        loading.load(f"imagefolder:{tmp_path}")
