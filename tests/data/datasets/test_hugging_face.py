import io
import os
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fedprompt.data import loading
from fedprompt.data.datasets import prepare
from fedprompt.data.errors import DataError
from fedprompt.data.federation import build
from fedprompt.data.images.cache import file_stamp, find_unreadable, load_decoded
from fedprompt.data.partitions.settings import PartitionSettings
from tests.data.toy import stream

ABSENT = 'the datasets package is not installed: pip install "fedprompt-bench[hf]"'
pytest.importorskip("datasets.load", reason=ABSENT)  # `datasets` alone may be the folder of the data sets
hub = sys.modules["datasets"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    """The library neither reads nor writes the user's cache, and reports no progress."""
    monkeypatch.setattr(hub.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setattr(hub.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    hub.disable_progress_bars()


def png(shade, size=(5, 4)):
    content = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 9)).save(content, "png")
    return content.getvalue()


def split(labels, first=0, feature=None, image="image", **columns):
    """A split with images of increasing red, in the column `image`, and the given columns."""
    images = [{"bytes": png(first + i), "path": None} for i in range(len(labels))]
    features = {image: hub.Image(), "label": feature or hub.ClassLabel(names=["dog", "cat"])}
    content = {image: images, "label": list(labels)} | columns
    kinds = {name: hub.Value("string" if isinstance(values[0], str) else "int64") for name, values in columns.items()}
    return hub.Dataset.from_dict(content, features=hub.Features(features | kinds))


def saved(root, **splits):
    hub.DatasetDict(splits).save_to_disk(root / "pets")
    return "hf:pets"


def load(root, name):
    return loading.load(name, root)


def reds(files):
    return [int(files[i][0, 0, 0]) for i in range(len(files))]


def test_a_saved_data_set_keeps_its_splits_class_names_and_encoded_images(tmp_path):
    dataset = load(tmp_path, saved(tmp_path, train=split([0, 1, 1], 10), test=split([1, 0], 20)))
    assert dataset.classes == ("dog", "cat")
    assert (dataset.train_y.tolist(), dataset.test_y.tolist()) == ([0, 1, 1], [1, 0])
    assert (reds(dataset.train_x), reds(dataset.test_x)) == ([10, 11, 12], [20, 21])
    assert dataset.train_x[0].shape == (4, 5, 3)
    assert dataset.split_rule == "the split train; the split test is the test data"


def test_images_are_decoded_only_on_demand(tmp_path, monkeypatch):
    name = saved(tmp_path, train=split([0, 1]), test=split([1, 0]))
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    assert len(load(tmp_path, name).train_x) == 2


def test_the_decode_cache_serves_both_parts_and_notices_a_changed_table(tmp_path):
    name = saved(tmp_path, train=split([0, 1], 30), test=split([1, 0], 40))
    dataset = load(tmp_path, name)
    assert load_decoded(dataset.test_x, 3, folder=tmp_path / "c")[:, 1, 1].tolist() == [[40, 0, 9], [41, 0, 9]]
    assert load_decoded(dataset.train_x, 3, folder=tmp_path / "c")[:, 1, 1].tolist() == [[30, 0, 9], [31, 0, 9]]
    before = file_stamp(dataset.train_x)
    os.utime(next((tmp_path / "pets" / "train").glob("*.arrow")), (1, 1))
    assert file_stamp(dataset.train_x) == file_stamp(dataset.test_x) != before


def test_an_unreadable_image_is_named_and_left_out_on_request(tmp_path):
    broken = split([0, 1, 1], 10).to_dict() | {
        "image": [{"bytes": b"no image", "path": None}] + [{"bytes": png(5), "path": None}] * 2
    }
    train = hub.Dataset.from_dict(broken, features=split([0]).features)
    name = saved(tmp_path, train=train, test=split([1, 0]))
    assert list(find_unreadable(load(tmp_path, name).train_x)) == ["train/00000000"]
    assert loading.load(name, tmp_path, skip_corrupt=True).train_y.tolist() == [1, 1]
    assert prepare.verify(name, tmp_path).unreadable.keys() == {"train/00000000"}


@pytest.mark.parametrize("test", ["validation", "valid", "dev"])
def test_without_a_labelled_test_split_the_validation_split_is_the_test_data(tmp_path, test):
    unlabelled = split([-1, -1], 50)
    dataset = load(tmp_path, saved(tmp_path, **{"train": split([0, 1]), test: split([1, 0], 20), "test": unlabelled}))
    assert reds(dataset.test_x) == [20, 21]
    assert dataset.notes == ("splits that are not used: test",)


def test_a_single_split_is_divided_by_class_with_a_fixed_seed(tmp_path):
    split([0] * 10 + [1] * 5).save_to_disk(tmp_path / "pets")
    dataset = load(tmp_path, "hf:pets")
    assert np.bincount(dataset.test_y).tolist() == [2, 1]
    assert sorted(reds(dataset.train_x) + reds(dataset.test_x)) == list(range(15))
    assert "seed 0" in dataset.split_rule
    assert reds(dataset.test_x) != [2, 7, 12], "the images are drawn, not counted off"


def test_splits_may_be_named(tmp_path):
    name = saved(tmp_path, old=split([0, 1], 1), new=split([1, 0], 7))
    dataset = load(tmp_path, f"{name}:train=new:test=old")
    assert (reds(dataset.train_x), reds(dataset.test_x)) == ([7, 8], [1, 2])


def test_domains_and_clients_are_columns(tmp_path):
    train = split([0, 1, 1], style=["photo", "art", "photo"], user=[7, 12, 7])
    name = saved(tmp_path, train=train, test=split([1, 0], style=["art", "art"]))
    dataset = load(tmp_path, f"{name}:domain=style:client=user")
    assert dataset.domains == ("art", "photo")
    assert (dataset.train_domains.tolist(), dataset.test_domains.tolist()) == ([1, 0, 1], [0, 0])
    assert dataset.client_names == ("7", "12")
    assert dataset.train_clients.tolist() == [0, 1, 0]
    assert dataset.test_clients is None


@pytest.mark.parametrize(
    ("values", "feature", "classes", "expected"),
    [
        ([20, 3, 100, 3], "int64", ("3", "20", "100"), [1, 0, 2, 0]),
        (["b", "a", "c", "a"], "string", ("a", "b", "c"), [1, 0, 2, 0]),
        ([True, False, True, False], "bool", ("False", "True"), [1, 0, 1, 0]),
    ],
)
def test_labels_may_be_numbers_or_text(tmp_path, values, feature, classes, expected):
    kind = hub.Value(feature)
    dataset = load(tmp_path, saved(tmp_path, train=split(values, feature=kind), test=split(values[:1], feature=kind)))
    assert dataset.classes == classes
    assert dataset.train_y.tolist() == expected


def test_a_folder_of_parquet_files_is_read_with_the_splits_of_its_file_names(tmp_path):
    (tmp_path / "pets" / "data").mkdir(parents=True)
    for part, first in (("train", 0), ("test", 60)):
        split([0, 1], first).to_parquet(tmp_path / "pets" / "data" / f"{part}-00000-of-00001.parquet")
    dataset = load(tmp_path, "hf:pets")
    assert dataset.classes == ("dog", "cat")
    assert reds(dataset.test_x) == [60, 61]


def test_images_beside_the_table_are_read_from_their_files(tmp_path):
    for part in ("train", "test"):
        for k, label in enumerate(("cat", "dog")):
            path = tmp_path / "pets" / part / label / "1.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(png(70 + k))
    dataset = load(tmp_path, "hf:pets")
    assert dataset.classes == ("cat", "dog")
    assert sorted(reds(dataset.test_x)) == [70, 71]


def cached(cache, configurations=("default",)):
    """Puts a repository of the Hub into the library's cache, as a download does."""
    from datasets.load import configure_builder_class
    from datasets.packaged_modules.parquet.parquet import Parquet, ParquetConfig

    files = {}
    for part, first in (("train", 0), ("test", 80)):
        path = cache / "downloads" / f"{part}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        split([0, 1], first).to_parquet(path)
        files[part] = [str(path)]
    for configuration in configurations:
        configs = [ParquetConfig(name=configuration, data_files=hub.data_files.DataFilesDict(files))]
        builder = configure_builder_class(Parquet, configs, configuration, "pets")
        builder(cache_dir=str(cache), dataset_name="pets", hash="0" * 40).download_and_prepare()
    (cache / "pets").rename(cache / "someone___pets")  # where the library keeps a repository with an owner
    return "hf:someone/pets"


def test_a_repository_is_read_from_the_cache_without_network(tmp_path):
    dataset = load(tmp_path, cached(tmp_path / "hub"))
    assert dataset.name == "hf:someone/pets"
    assert reds(dataset.test_x) == [80, 81]


def test_a_configuration_is_part_of_the_name(tmp_path):
    name = cached(tmp_path / "hub", ("large", "small"))
    assert len(load(tmp_path, f"{name}:small").train_y) == 2
    with pytest.raises(DataError, match=r"multiple 'someone/pets' configurations in the cache: \w+, \w+"):
        load(tmp_path, name)
    with pytest.raises(DataError, match=r"Available configs in the cache: \['large', 'small'\]"):
        load(tmp_path, f"{name}:tiny")


def test_the_identity_changes_with_labels_columns_and_images_but_not_with_the_place(tmp_path):
    test = split([1, 0])
    train = split([0, 1, 1], user=[1, 2, 2])
    identities = set()
    for place, first in (("a", train), ("b", train), ("c", split([1, 1, 1], user=[1, 2, 2]))):
        name = saved(tmp_path / place, train=first, test=test)
        identities.add(loading.identity(name, tmp_path / place))
    identities.add(loading.identity("hf:pets:client=user", tmp_path / "a"))
    larger = split([0, 1, 1], user=[1, 2, 2]).map(lambda _: {"image": {"bytes": png(1, (90, 70)), "path": None}})
    identities.add(loading.identity(saved(tmp_path / "d", train=larger, test=test), tmp_path / "d"))
    assert len(identities) == 4


def test_a_data_set_that_is_neither_here_nor_in_the_cache_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(DataError, match=r"(?s)cannot be read from the cache.*\nrun `bench data prepare hf:some/thing`"):
        load(tmp_path, "hf:some/thing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"cannot be read from .*empty: .*\nneed a folder written by save_to_disk"):
        load(tmp_path, "hf:empty")


def test_a_failed_download_is_two_lines_with_the_remedy(tmp_path, monkeypatch):
    with pytest.raises(
        DataError, match=r"(?s)cannot be downloaded: .*OfflineModeIsEnabled.*\ncheck the name; if it is gated"
    ):
        prepare.prepare("hf:some/thing", tmp_path)

    def gated(*_):
        raise hub.exceptions.DatasetNotFoundError(
            "Dataset 'some/thing' is a gated dataset on the Hub.\nVisit its page."
        )

    monkeypatch.setattr(hub, "load_dataset", gated)
    with pytest.raises(DataError, match=r"is a gated dataset on the Hub\n.*run `hf auth login`"):
        prepare.prepare("hf:some/thing", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (":label=labell", "unknown column of hf:pets:label=labell: 'labell'; did you mean 'label'"),
        (":domain=style", "unknown column of hf:pets:domain=style: 'style'"),
        (":test=tset", "unknown split of hf:pets:test=tset: 'tset'; did you mean 'test'"),
        (":test=train", "the split train cannot be both training and test data"),
        (":image=user", "the column user contains int64, not images"),
        (":label=score", "the column score contains float64; need class labels, whole numbers or text"),
        (":label=image", "the column image contains"),
        (":labels=x", "unknown option of hf data sets 'labels'; did you mean 'label'"),
        (":a:b", "need hf:REPO, hf:REPO:CONFIG or hf:FOLDER"),
        (":client=note", "1 rows of the split train have no note"),
    ],
)
def test_a_wrong_column_split_or_option_is_named(tmp_path, options, message):
    train = split([0, 1], user=[1, 2], note=["", "x"]).add_column("score", [0.5, 1.5])
    name = saved(tmp_path, train=train, test=split([1, 0]))
    with pytest.raises(DataError, match=message):
        load(tmp_path, name + options)


def test_a_set_without_images_or_without_a_clear_label_is_refused(tmp_path):
    texts = hub.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(DataError, match=r"no image column among text, label; name one: hf:pets:image=COLUMN"):
        load(tmp_path, saved(tmp_path, train=texts))
    kind = hub.ClassLabel(names=["x", "y"])
    two = split([0, 1]).rename_column("label", "fine").add_column("coarse", [0, 1]).cast_column("coarse", kind)
    with pytest.raises(DataError, match=r"several label columns: fine, coarse; name one: hf:pets:label=COLUMN"):
        load(tmp_path / "b", saved(tmp_path / "b", train=two))


def test_a_row_without_an_image_is_counted(tmp_path):
    content = {"image": [{"bytes": png(1), "path": None}, None], "label": [0, 1]}
    train = hub.Dataset.from_dict(content, features=split([0]).features)
    with pytest.raises(DataError, match="1 rows of the column image contain no image"):
        load(tmp_path, saved(tmp_path, train=train))


@pytest.mark.parametrize(
    ("kind", "options", "clients"),
    [
        ("dirichlet", {"alpha": 0.5, "clients": 4}, 4),
        ("dirichlet-class", {"alpha": 0.5, "clients": 4}, 4),
        ("pathological", {"clients": 4, "classes_per_client": 1}, 4),
        ("iid", {"clients": 4}, 4),
        ("quantity", {"alpha": 5.0, "clients": 4}, 4),
        ("domain", {}, 2),
        ("leave-one-domain-out", {"domain": "art"}, 2),
        ("natural", {}, 3),
    ],
)
def test_every_partition_divides_it(tmp_path, kind, options, clients):
    columns = {"style": ["photo", "art"] * 30, "user": [7, 8, 9] * 20}
    name = saved(tmp_path, train=split([0, 0, 1, 1] * 15, **columns), test=split([0, 0, 1, 1] * 15, **columns))
    dataset = load(tmp_path, f"{name}:domain=style:client=user")
    federation = build(dataset, PartitionSettings(kind, **options), stream(0))
    assert len(federation.clients) == clients
    assert federation.counts.sum() + federation.unused[0] == 60


@pytest.mark.parametrize("found", [None, ModuleType("datasets")], ids=["nothing", "a folder of that name"])
def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch, found):
    monkeypatch.setitem(sys.modules, "datasets", found)
    monkeypatch.setitem(sys.modules, "datasets.load", None)
    with pytest.raises(DataError, match=r'needs the datasets package: pip install "fedprompt-bench\[hf\]"'):
        loading.load("hf:some/thing")
