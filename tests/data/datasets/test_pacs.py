from collections import Counter

import numpy as np
import pytest

from fedprompt.data import loading, registry
from fedprompt.data.datasets.pacs import CLASSES, DOMAINS
from fedprompt.data.errors import DataError
from fedprompt.data.files.archive import unpack
from tests.data.made import image, shared


def pacs(root, count):
    for d, domain in enumerate(DOMAINS):
        for label in CLASSES:
            for k in range(count):
                image(root / "PACS" / domain / label / f"pic_{k:03}.jpg", (60 * d, 0, 0))
    return root / "PACS"


def test_every_fifth_image_per_domain_and_class_is_a_test_image(tmp_path):
    pacs(tmp_path, 6)
    dataset = loading.load("pacs", tmp_path)
    assert dataset.classes == CLASSES
    assert dataset.domains == DOMAINS
    assert dataset.test_x.paths == [f"{d}/{c}/pic_002.jpg" for d in sorted(DOMAINS) for c in sorted(CLASSES)]
    assert not set(dataset.train_x.paths) & set(dataset.test_x.paths)
    assert len(dataset.train_y) == 28 * 5
    for part in ("train", "test"):
        paths, labels, domains = (getattr(dataset, f"{part}_{what}") for what in ("x", "y", "domains"))
        said = [f"{DOMAINS[d]}/{CLASSES[c]}" for d, c in zip(domains, labels, strict=True)]
        assert said == [path.rpartition("/")[0] for path in paths.paths]


def test_the_listed_counts_follow_from_the_published_class_sizes():
    # images of each class, dog to person, of the full set; the 3rd, 8th, ... of n images are (n + 2) // 5
    sizes = {
        "art_painting": (379, 255, 285, 184, 201, 295, 449),
        "cartoon": (389, 457, 346, 135, 324, 288, 405),
        "photo": (189, 202, 182, 186, 199, 280, 432),
        "sketch": (772, 740, 753, 608, 816, 80, 160),
    }
    assert [sum(group) for group in sizes.values()] == [2048, 2344, 1670, 3929]
    tested = sum((n + 2) // 5 for group in sizes.values() for n in group)
    source = registry.source("pacs")
    assert (source.train, source.test) == (9991 - tested, tested)


def test_an_absent_folder_is_named(tmp_path):
    (pacs(tmp_path, 3) / "photo").rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"folder not found: .*photo/dog; .* contains art_painting, cartoon, sketch"):
        loading.load("pacs", tmp_path)


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
