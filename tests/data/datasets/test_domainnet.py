import re

import pytest

from fedprompt.data import loading
from fedprompt.data.datasets.domainnet import IMAGES, LISTS, TEN
from fedprompt.data.errors import DataError
from tests.data.made import image, listed, shared

TWO = {
    "clipart_train": ["clipart/cat/a.jpg 7", "clipart/dog/b.jpg 2", "clipart/dog/c.jpg 2"],
    "clipart_test": ["clipart/cat/d.jpg 7"],
    "real_train": ["real/dog/e.jpg 2"],
    "real_test": ["real/dog/f.jpg 2"],
}


def whole(root, classes=345):
    """All lists of DomainNet, with one class a line; the ten known classes are among the first."""
    things = [*TEN, *(f"thing_{i}" for i in range(10, classes))]
    folder = root / "domainnet"
    for domain in IMAGES:
        image(folder / domain / "any" / "0.jpg")
    lines = {name: [] for name in LISTS}
    lines["clipart_train"] = [f"clipart/{thing}/0.jpg {label}" for label, thing in enumerate(things)]
    lines["real_test"] = [f"real/{thing}/0.jpg {label}" for label, thing in enumerate(things[:20])]
    return listed(folder, lines)


def test_custom_lists_select_images_classes_and_domains(tmp_path):
    listed(tmp_path / "lists", TWO, tmp_path / "domainnet")
    dataset = loading.load("domainnet:lists", tmp_path)
    assert dataset.classes == ("dog", "cat")  # in the order of their labels 2 and 7, which close up
    assert dataset.domains == ("clipart", "real")
    assert dataset.train_y.tolist() == [1, 0, 0, 0]
    assert dataset.train_domains.tolist() == [0, 0, 0, 1]
    assert dataset.test_x.paths == ["clipart/cat/d.jpg", "real/dog/f.jpg"]


def test_the_ten_classes_are_selected_and_renumbered(tmp_path):
    whole(tmp_path)
    dataset = loading.load("domainnet-10", tmp_path)
    assert dataset.classes == TEN
    assert dataset.train_y.tolist() == dataset.test_y.tolist() == list(range(10))
    assert len(loading.load("domainnet-345", tmp_path).classes) == 345
    assert loading.identity("domainnet-10", tmp_path) != loading.identity("domainnet-345", tmp_path)


def test_lists_with_fewer_than_345_classes_are_refused(tmp_path):
    whole(tmp_path, classes=100)
    with pytest.raises(
        DataError, match=r"contain 100 classes, not 345\nput the published lists there; .*domainnet:FOLDER"
    ):
        loading.load("domainnet-345", tmp_path)


def test_a_list_that_names_absent_files_is_refused_with_their_count(tmp_path):
    listed(tmp_path / "lists", TWO, tmp_path / "domainnet")
    for name in ("clipart/dog/b.jpg", "clipart/dog/c.jpg"):
        (tmp_path / "domainnet" / name).unlink()
    message = "clipart_train.txt lists 2 files that are not in .*: clipart/dog/b.jpg, clipart/dog/c.jpg\nunpack"
    with pytest.raises(DataError, match=message):
        loading.load("domainnet:lists", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("clipart/cat/a.jpg x", "the label 'x' of class cat is out of range; need a whole number from 0"),
        ("clipart/cat/a.jpg -1", "the label '-1' of class cat is out of range"),
        ("clipart/cat/a.jpg 3", "class cat has the labels 7 and 3; need one"),
        ("clipart/cow/a.jpg 2", "the classes cow and dog have the same label 2"),
        ("../cat/a.jpg 7", "clipart_train.txt line 1: the path '../cat/a.jpg' is not inside"),
        ("/etc/cat/a.jpg 7", "line 1: the path '/etc/cat/a.jpg' is not inside"),
        ("cat/a.jpg 7", "line 1: need DOMAIN/CLASS/FILE LABEL, not 'cat/a.jpg 7'"),
        ("clipart/cat/a.jpg", "line 1: need DOMAIN/CLASS/FILE LABEL, not 'clipart/cat/a.jpg'"),
    ],
)
def test_an_invalid_line_is_named(tmp_path, line, message):
    listed(tmp_path / "lists", TWO, tmp_path / "domainnet")
    rest = TWO["clipart_train"][1:]
    (tmp_path / "lists" / "clipart_train.txt").write_text("\n".join([line, *rest]))
    with pytest.raises(DataError, match=re.escape(message)):
        loading.load("domainnet:lists", tmp_path)


def test_a_label_beyond_the_345_classes_is_out_of_range(tmp_path):
    path = whole(tmp_path) / "clipart_train.txt"
    path.write_text(path.read_text().replace("thing_344/0.jpg 344", "thing_344/0.jpg 345"))
    with pytest.raises(DataError, match="the label '345' of class thing_344 is out of range; need 0 to 344"):
        loading.load("domainnet-345", tmp_path)


def test_a_folder_without_lists_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"folder not found: .*none; it needs files DOMAIN_train.txt"):
        loading.load("domainnet:none", tmp_path)
    with pytest.raises(DataError, match=r"contains no lists; need DOMAIN_train.txt and DOMAIN_test.txt"):
        loading.load(f"domainnet:{tmp_path}", tmp_path)


def test_lists_that_are_not_text_are_refused_by_name(tmp_path):
    lists = listed(tmp_path / "lists", TWO, tmp_path / "domainnet")
    (lists / "clipart_train.txt").write_bytes(b"clipart/caf\xe9/a.jpg 0\n")
    with pytest.raises(DataError, match=r"clipart_train.txt is not a readable list: .*utf-8"):
        loading.load("domainnet:lists", tmp_path)
    (lists / "clipart_train.txt").unlink()
    (lists / "clipart_train.txt").mkdir()
    with pytest.raises(DataError, match=r"clipart_train.txt is not a readable list: .*directory"):
        loading.load("domainnet:lists", tmp_path)


def test_an_image_for_training_and_for_testing_is_refused(tmp_path):
    both = TWO["clipart_train"][0]
    lists = listed(tmp_path / "lists", TWO, tmp_path / "domainnet")
    with (lists / "clipart_test.txt").open("a") as file:
        file.write(f"{both}\n")
    with pytest.raises(DataError, match=rf"listed more than once: 1 \({both.split()[0]}\)"):
        loading.load("domainnet:lists", tmp_path)


def test_missing_lists_are_named_if_the_images_are_present(tmp_path):
    for domain in IMAGES:
        (tmp_path / "domainnet" / domain).mkdir(parents=True)
    with pytest.raises(DataError, match=r"first put clipart_train.txt, .* into "):
        loading.load("domainnet-10", tmp_path)


def test_the_real_lists_of_100_classes_fit_images_at_their_paths(tmp_path):
    source = shared("lists/DN4IL")
    lists = {path.stem: path.read_text().splitlines()[::500] for path in source.glob("*.txt")}
    listed(tmp_path / "DN4IL", lists, tmp_path / "domainnet")
    dataset = loading.load("domainnet:DN4IL", tmp_path)
    assert dataset.domains == tuple(IMAGES)
    assert len(dataset.train_y) == sum(len(lines) for name, lines in lists.items() if name.endswith("train"))
    assert len(dataset.test_y) == sum(len(lines) for name, lines in lists.items() if name.endswith("test"))
    first = lists["clipart_train"][0].split()[0]
    assert dataset.train_x.paths[0] == first
    assert dataset.classes[dataset.train_y[0]] == first.split("/")[1]


def test_all_missing_images_of_the_real_lists_are_counted(tmp_path):
    source = shared("lists/DN4IL")
    (tmp_path / "domainnet").mkdir()
    count = len((source / "clipart_test.txt").read_text().splitlines())
    with pytest.raises(DataError, match=f"clipart_test.txt lists {count} files that are not in"):
        loading.load(f"domainnet:{source.resolve()}", tmp_path)
