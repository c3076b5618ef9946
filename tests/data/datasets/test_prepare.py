import re
import shutil
import zipfile
from pathlib import Path

import pytest

from fedprompt.data import loading
from fedprompt.data.datasets import prepare as preparing
from fedprompt.data.datasets.prepare import prepare, verify
from fedprompt.data.errors import DataError
from tests.data.made import tiny


def packed(tmp_path, name="tiny-imagenet-200.train-val.tar.xz"):
    """A small Tiny-ImageNet as an archive beside an empty data root `tmp_path`/root."""
    tiny(tmp_path / "made")
    kind = {"xz": "xztar", "ip": "zip"}[name[-2:]]
    made = Path(shutil.make_archive(str(tmp_path / "made"), kind, tmp_path / "made"))
    return made.rename(tmp_path / name)


def test_an_archive_of_any_name_is_unpacked_and_verified(tmp_path):
    verdict = prepare("tiny-imagenet", tmp_path / "root", [packed(tmp_path)])
    assert (verdict.train, verdict.test, verdict.classes) == (6, 3, 3)
    assert verdict.faults == ()
    assert verdict.differs == (
        "train: 6, published: 100,000",
        "test: 3, published: 10,000",
        "classes: 3, published: 200",
    )
    assert loading.load("tiny-imagenet", tmp_path / "root").train_x[0].shape == (64, 64, 3)
    assert prepare("tiny-imagenet", tmp_path / "root") == verdict  # again: nothing to do


def test_an_archive_with_its_published_name_must_have_its_md5(tmp_path):
    with pytest.raises(DataError, match="does not have the published md5 90528d7ca1a48142e341f4ef8d21d0de"):
        prepare("tiny-imagenet", tmp_path / "root", [packed(tmp_path, "tiny-imagenet-200.zip")])
    assert not (tmp_path / "root" / "tiny-imagenet-200").exists()


def test_a_file_in_the_data_root_is_used_instead_of_a_download(tmp_path):
    root = tmp_path / "root"
    with zipfile.ZipFile(tmp_path / "PACS.zip", "w") as file:
        file.writestr("kfold/photo/dog/1.jpg", b"")
    root.mkdir()
    (tmp_path / "PACS.zip").rename(root / "PACS.zip")
    with pytest.raises(DataError, match=r"folder not found: .*PACS/art_painting; .* contains photo"):
        prepare("pacs", root)  # unpacked, but incomplete


def test_for_an_archive_without_an_address_the_error_names_file_and_location(tmp_path):
    message = f"PACS.zip has no download address; request it from its authors\nsave it as {tmp_path / 'PACS.zip'}"
    with pytest.raises(DataError, match=re.escape(message)):
        prepare("pacs", tmp_path)


def test_a_download_goes_to_the_data_root_under_its_published_name(tmp_path, monkeypatch):
    archive = packed(tmp_path)
    asked = []

    def fetch(url, path, md5):
        asked.append((url, md5))
        path.parent.mkdir(parents=True)
        shutil.copy(archive, path)

    monkeypatch.setattr(preparing, "fetch", fetch)
    monkeypatch.setattr(preparing, "file_md5", lambda _: "90528d7ca1a48142e341f4ef8d21d0de")
    assert prepare("tiny-imagenet", tmp_path / "root").train == 6
    assert asked == [("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")]


def test_archives_missing_from_the_given_folder_are_named(tmp_path):
    (tmp_path / "have").mkdir()
    with zipfile.ZipFile(tmp_path / "have" / "inaturalist-user-120k.zip", "w") as file:
        file.writestr("inaturalist-user-120k/test.csv", "image_id,class,label\n")
    with pytest.raises(DataError, match=r"inaturalist-user-120k: still missing: train_val_images.tar.gz; add them"):
        prepare("inaturalist-user-120k", tmp_path / "root", [tmp_path / "have"])
    assert (tmp_path / "root" / "inaturalist" / "inaturalist-user-120k" / "test.csv").is_file()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("domainnet-10", "clip.zip", "clip.zip is none of its missing files: clipart.zip, infograph.zip"),
        ("pacs", "none.zip", "none.zip: file not found"),
        ("digits", "clip.zip", "digits needs no preparation"),
        ("pasc", "clip.zip", "unknown data set 'pasc'; did you mean 'pacs'"),
    ],
)
def test_an_unsuitable_file_is_refused(tmp_path, name, given, message):
    (tmp_path / "clip.zip").write_bytes(b"")
    with pytest.raises(DataError, match=re.escape(message)):
        prepare(name, tmp_path / "root", [tmp_path / given])


def test_existing_data_are_not_replaced(tmp_path):
    archive = packed(tmp_path)
    with pytest.raises(DataError, match="already exists; delete it to unpack"):
        prepare("tiny-imagenet", tmp_path / "made", [archive])


def test_verifying_names_every_unreadable_image(tmp_path):
    folder = tiny(tmp_path)
    bad = [folder / f"train/n00000001/images/n00000001_{k}.JPEG" for k in range(2)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:100])
    verdict = verify("tiny-imagenet", tmp_path)
    assert sorted(verdict.unreadable) == [str(path.relative_to(folder)) for path in bad]
    assert len(verdict.faults) == 2
    assert str(bad[0]) in verdict.faults[0]


def test_content_that_changed_since_it_was_prepared_is_a_fault(tmp_path):
    prepare("tiny-imagenet", tmp_path / "root", [packed(tmp_path)])
    folder = tmp_path / "root" / "tiny-imagenet-200" / "train" / "n00000001" / "images"
    shutil.copy(folder / "n00000001_0.JPEG", folder / "n00000001_1.JPEG")
    (folder / "n00000001_1.JPEG").write_bytes((folder / "n00000001_0.JPEG").read_bytes() + b"\0")
    (fault,) = verify("tiny-imagenet", tmp_path / "root").faults
    assert fault.startswith("the content has changed since preparation: checksum sha256:")


def test_a_data_set_of_arrays_is_verified_by_its_identity():
    verdict = verify("digits")
    assert (verdict.checksum, verdict.faults, verdict.differs) == ("digits-1", (), ())
