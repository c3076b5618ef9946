from collections import Counter

import numpy as np
import pytest

from fedprompt.data import loading, registry
from fedprompt.data.errors import DataError
from fedprompt.data.files.archive import unpack
from tests.data.made import image, shared

PACS = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
STYLES = ("art_painting", "cartoon", "photo", "sketch")
# Images of each class in order of name, of the full sets.
SIZES = {
    "pacs": {
        "art_painting": (379, 255, 285, 184, 201, 295, 449),
        "cartoon": (389, 457, 346, 135, 324, 288, 405),
        "photo": (189, 202, 182, 186, 199, 280, 432),
        "sketch": (772, 740, 753, 608, 816, 80, 160),
    },
    "vlcs": {
        "Caltech101": (237, 123, 118, 67, 870),
        "LabelMe": (80, 1209, 89, 43, 1235),
        "SUN09": (21, 933, 1036, 31, 1261),
        "VOC2007": (330, 699, 428, 420, 1499),
    },
    "office-caltech10": {
        "amazon": (92, 82, 94, 99, 100, 100, 99, 100, 94, 98),
        "caltech": (151, 110, 100, 138, 85, 128, 133, 94, 87, 97),
        "dslr": (12, 21, 12, 13, 10, 24, 22, 12, 8, 23),
        "webcam": (29, 21, 31, 27, 27, 30, 43, 30, 27, 30),
    },
}


def made(folder, domains, classes, count):
    for d, domain in enumerate(domains):
        for label in classes:
            for k in range(count):
                image(folder / domain / label / f"pic_{k:03}.jpg", (60 * d, 0, 0))
    return folder


def pacs(root, count):
    return made(root / "PACS", STYLES, PACS, count)


def test_every_fifth_image_per_domain_and_class_is_a_test_image(tmp_path):
    pacs(tmp_path, 6)
    dataset = loading.load("pacs", tmp_path)
    assert dataset.classes == PACS
    assert dataset.domains == STYLES
    assert dataset.test_x.paths == [f"{d}/{c}/pic_002.jpg" for d in STYLES for c in PACS]
    assert not set(dataset.train_x.paths) & set(dataset.test_x.paths)
    assert len(dataset.train_y) == 28 * 5
    assert dataset.split_rule.startswith("every fifth image per domain and class")
    for part in ("train", "test"):
        paths, labels, domains = (getattr(dataset, f"{part}_{what}") for what in ("x", "y", "domains"))
        said = [f"{STYLES[d]}/{PACS[c]}" for d, c in zip(domains, labels, strict=True)]
        assert said == [path.rpartition("/")[0] for path in paths.paths]


@pytest.mark.parametrize(
    ("name", "folder", "domains", "classes"),
    [
        ("office-home", "office_home", ("Art", "Clipart", "Product", "Real World"), 65),
        ("vlcs", "VLCS", ("Caltech101", "LabelMe", "SUN09", "VOC2007"), 5),
        ("office-caltech10", "office_caltech_10", ("amazon", "caltech", "dslr", "webcam"), 10),
    ],
)
def test_domains_and_classes_are_the_folders_of_the_published_layout(tmp_path, name, folder, domains, classes):
    made(tmp_path / folder, domains, [f"thing {c:02}" for c in range(classes)], 3)
    dataset = loading.load(name, tmp_path)
    assert dataset.domains == domains
    assert dataset.classes == tuple(f"thing {c:02}" for c in range(classes))
    assert Counter(dataset.test_domains.tolist()) == dict.fromkeys(range(4), classes)
    assert len(dataset.train_y) == 4 * classes * 2
    assert registry.source(name).classes == classes


@pytest.mark.parametrize("name", SIZES)
def test_the_listed_counts_follow_from_the_published_class_sizes(name):
    # The 3rd, 8th, ... of n images are (n + 2) // 5.
    sizes, source = SIZES[name], registry.source(name)
    tested = sum((n + 2) // 5 for group in sizes.values() for n in group)
    assert (source.train, source.test) == (sum(map(sum, sizes.values())) - tested, tested)
    assert {len(group) for group in sizes.values()} == {source.classes}


def test_the_published_domain_sizes_are_those_of_the_papers():
    assert [sum(group) for group in SIZES["pacs"].values()] == [2048, 2344, 1670, 3929]
    assert [sum(group) for group in SIZES["vlcs"].values()] == [1415, 2656, 3282, 3376]
    assert [sum(group) for group in SIZES["office-caltech10"].values()] == [958, 1123, 157, 295]


def test_an_absent_domain_is_named(tmp_path):
    (pacs(tmp_path, 3) / "photo").rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"folder not found: .*photo; .* contains art_painting, cartoon, sketch"):
        loading.load("pacs", tmp_path)


def test_an_absent_class_is_named_with_its_domain(tmp_path):
    (pacs(tmp_path, 3) / "photo" / "dog").rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"pacs: .*photo has no folder dog"):
        loading.load("pacs", tmp_path)


def test_another_number_of_classes_is_refused(tmp_path):
    made(tmp_path / "VLCS", ("Caltech101", "LabelMe", "SUN09", "VOC2007"), "abcdef", 3)
    with pytest.raises(DataError, match=r"vlcs: .*Caltech101 has 6 folders of classes; need 5"):
        loading.load("vlcs", tmp_path)


def test_the_real_subset_has_four_domains_of_equal_shares(tmp_path):
    unpack(shared("PACS.subset-60.zip"), tmp_path / "PACS")
    dataset = loading.load("pacs", tmp_path)
    for part, count in (("train", 48), ("test", 12)):
        pairs = Counter(zip(*(getattr(dataset, f"{part}_{what}").tolist() for what in ("domains", "y")), strict=True))
        assert set(pairs.values()) == {count}
        assert len(pairs) == 28
    sample = dataset.train_x[0]
    assert sample.shape == (227, 227, 3)
    assert np.ptp(sample) > 100
