from collections import Counter

import pytest

from fedprompt.data import loading, registry
from fedprompt.data.errors import DataError
from tests.data.made import inaturalist, shared

ROWS = [("7", "a1", "Ara ara", 0), ("12", "a2", "Bufo bufo", 1), ("7", "a3", "Bufo bufo", 1), ("3", "a4", "Ara ara", 0)]


def test_photographers_are_clients_and_columns_are_found_by_header(tmp_path):
    inaturalist(tmp_path, ROWS)
    dataset = loading.load("inaturalist-user-120k", tmp_path)
    assert dataset.client_names == ("3", "7", "12")  # numbers in order of number
    assert dataset.train_clients.tolist() == [1, 2, 1, 0]
    assert dataset.test_clients is None
    assert dataset.classes == ("Ara ara", "Bufo bufo")
    assert dataset.train_y.tolist() == [0, 1, 1, 0]
    assert dataset.train_x.paths[1] == "Group B/Bufo bufo/a2.jpg"
    assert dataset.train_x[0].shape == (8, 12, 3)
    assert dataset.test_x.paths == ["Group A/Ara ara/t0.jpg", "Group B/Bufo bufo/t1.jpg"]


@pytest.mark.parametrize("split", ["100", "300", "1k", "3k", "10k"])
def test_each_size_of_cell_has_its_own_file(tmp_path, split):
    for size in ("100", "300", "1k", "3k", "10k", "30k"):
        inaturalist(tmp_path, [(f"cell {size}", *row[1:]) for row in ROWS], f"geo_{size}")
    assert loading.load(f"inaturalist-geo-{split}", tmp_path).client_names == (f"cell {split}",)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("federated_train_user_120k.csv", "image_id,class,label\n", "has no column user_id; its header is: image_id"),
        ("federated_train_user_120k.csv", "", "has no column user_id, image_id, class, label; its header is: nothing"),
        ("test.csv", "image_id,class\nt0,Ara ara\n", "has no column label; its header is: image_id, class"),
        ("test.csv", "image_id,class,label\nt0,Ara ara\n", "line 2: need a value for each of image_id, class, label"),
        ("test.csv", "image_id,class,label\nt0,Ara ara,1203\n", "the label '1203' of class Ara ara is out of range"),
        ("test.csv", "image_id,class,label\nt9,Ara ara,0\n", "test.csv lists 1 files that are not in .*t9.jpg"),
        ("test.csv", "image_id,class,label\nt0,Canis lupus,5\n", r"lists 1 files .*: \?/Canis lupus/t0.jpg"),
    ],
)
def test_a_csv_file_that_does_not_fit_is_refused(tmp_path, file, content, message):
    (inaturalist(tmp_path, ROWS) / file).write_text(content)
    with pytest.raises(DataError, match=message):
        loading.load("inaturalist-user-120k", tmp_path)


def test_for_an_archive_without_the_split_the_error_lists_its_files(tmp_path):
    inaturalist(tmp_path, ROWS, "geo_1k")
    with pytest.raises(DataError, match=r"no CSV file in .* ends in .*; found: federated_train_geo_1k.csv, test.csv"):
        loading.load("inaturalist-geo-100", tmp_path)


@pytest.mark.parametrize("split", ["user-120k", "geo-100", "geo-1k", "geo-3k"])
def test_the_listed_numbers_of_clients_are_the_real_ones(split):
    lines = shared(f"lists/inat_fl_client_sizes/inaturalist_{split.replace('-', '_')}_client_sizes.csv").read_text()
    assert registry.source(f"inaturalist-{split}").clients == len(lines.splitlines()) - 1


def test_real_client_sizes_are_read_from_generated_files(tmp_path):
    lines = shared("lists/inat_fl_client_sizes/inaturalist_geo_3k_client_sizes.csv").read_text().splitlines()[1:]
    sizes = {client: 1 + int(count) // 200 for client, count in (line.split(",") for line in lines)}
    rows = [(client, f"i{client}_{k}", "Ara ara", 0) for client, size in sizes.items() for k in range(size)]
    inaturalist(tmp_path, rows, "geo_3k")
    dataset = loading.load("inaturalist-geo-3k", tmp_path)
    assert Counter(dataset.client_names[i] for i in dataset.train_clients) == sizes
