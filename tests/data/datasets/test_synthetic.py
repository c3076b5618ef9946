import re
from collections import Counter

import numpy as np
import pytest

from fedprompt.data import federation, loading, registry
from fedprompt.data.datasets.synthetic import CONCENTRATION, client_sizes, skewed_labels
from fedprompt.data.errors import DataError
from fedprompt.data.partitions.settings import PartitionSettings
from tests.data.made import shared
from tests.data.toy import stream


@pytest.fixture(scope="module")
def places():
    return loading.load("synthetic:inaturalist-geo-3k")


@pytest.mark.parametrize("split", ["user-120k", "geo-100", "geo-1k", "geo-3k"])
def test_the_sizes_shipped_are_the_published_ones(split):
    lines = shared(f"lists/inat_fl_client_sizes/inaturalist_{split.replace('-', '_')}_client_sizes.csv").read_text()
    published = [int(line.split(",")[1]) for line in lines.splitlines()[1:]]
    assert client_sizes()[f"inaturalist-{split}"].tolist() == published
    assert registry.source(f"inaturalist-{split}").clients == len(published)


def test_a_client_holds_its_real_number_of_samples(places):
    held = Counter(places.train_clients.tolist())
    assert [held[k] for k in range(135)] == client_sizes()["inaturalist-geo-3k"].tolist()
    assert (held[0], held[1], len(places.train_y)) == (1852, 695, 120_112)


def test_it_is_labelled_as_generated_data(places):
    assert registry.source(places.name).description.startswith("NOT iNaturalist: generated images")
    assert "accuracies have no meaning" in places.notes[0]
    assert all(name.startswith("made class") for name in places.classes)


def test_images_of_a_class_are_more_similar_than_images_of_two_classes(places):
    images = places.train_x[:2000].astype(int)
    labels = places.train_y[:2000]
    mean = np.stack([images[labels == c].mean(axis=0) for c in np.flatnonzero(np.bincount(labels) >= 40)[:2]])
    first, second = (images[labels == c] for c in np.flatnonzero(np.bincount(labels) >= 40)[:2])
    assert np.abs(first - mean[0]).mean() < np.abs(first - mean[1]).mean()
    assert np.abs(second - mean[1]).mean() < np.abs(second - mean[0]).mean()


def test_it_is_the_same_each_time_and_its_identity_names_the_sizes(places):
    again = registry.source(places.name).load()
    assert (again.train_x == places.train_x).all()
    assert (again.train_y == places.train_y).all()
    assert again.identity != loading.identity("synthetic:inaturalist-geo-1k")


def test_the_number_of_classes_per_client_matches_the_dirichlet_distribution():
    # The expected number of classes among n draws of Dir(a / C, ...): C (1 - prod (1 - 1/C) over fresh draws), and the
    # fresh draws are those of the urn, sum a / (a + i); with C = 1203 and few of them nearly every one is a new class.
    labels = skewed_labels(np.full(2000, 13), np.random.default_rng(1)).reshape(2000, 13)
    found = np.mean([len(set(own)) for own in labels.tolist()])
    expected = sum(CONCENTRATION / (CONCENTRATION + i) for i in range(13))
    assert found == pytest.approx(expected, abs=0.1)


def test_labels_do_not_cross_from_one_client_to_the_next():
    labels = skewed_labels(np.array([1] * 4000), np.random.default_rng(0))
    assert len(set(labels.tolist())) > 1000  # 4,000 fresh draws of 1,203 classes; copies would leave fewer


def test_for_unknown_sizes_the_error_lists_the_known_ones():
    with pytest.raises(
        DataError, match=re.escape("unknown client sizes 'inaturalist-geo-300'; did you mean 'inatural")
    ):
        loading.load("synthetic:inaturalist-geo-300")


def test_nine_thousand_photographers_become_a_federation():
    dataset = loading.load("synthetic:inaturalist-user-120k")
    built = federation.build(dataset, PartitionSettings("natural", held_out=0.1), stream(0))
    sizes = client_sizes()["inaturalist-user-120k"]
    assert (len(built.clients), len(built.held_out)) == (9275, 928)  # 927.5 rounded
    assert [len(c.train) + len(c.test) for c in built.clients] == sizes.tolist()
    assert built.summary()["untested"] == (sizes == 1).sum()
