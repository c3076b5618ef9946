import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedprompt.data import loading, registry
from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.registry import Source, register

ROOT = Path(__file__).parents[2]


@pytest.fixture
def _pair():
    @register("pair")
    class Pair(Source):
        description = "two images"
        classes, train, test = 2, 1, 1

        def identity(self):
            return "pair-1"

        def load(self):
            image = np.zeros((1, 1, 1, 3), np.uint8)
            return DataSet(self.name, image, np.array([0]), image, np.array([1]), ("a", "b"), identity="pair-1")

    yield
    del registry._sources["pair"]


@pytest.mark.usefixtures("_pair")
def test_a_registered_source_is_listed_and_loaded_by_name():
    assert "pair" in registry.names()
    (entry,) = (entry for entry in registry.entries() if entry.name == "pair")
    assert (entry.description, entry.classes, entry.train, entry.test, entry.bytes) == ("two images", 2, 1, 1, 0)
    assert loading.load("pair").classes == ("a", "b")
    assert loading.identity("pair") == "pair-1"


@pytest.mark.usefixtures("_pair")
def test_a_name_is_registered_once():
    with pytest.raises(DataError, match="'pair' is registered twice"):
        register("pair")(Source)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digts", "unknown data set 'digts'; did you mean 'digits'? available: cifar10, "),
        ("npz", "data set 'npz' needs more than its name: write npz:FILE"),
        ("digits:8", "data set 'digits:8': digits takes no argument; write digits"),
    ],
)
def test_for_an_invalid_name_the_error_names_a_valid_one(name, message):
    with pytest.raises(DataError, match=re.escape(message)):
        loading.load(name)
    with pytest.raises(DataError, match=re.escape(message)):
        loading.identity(name)


def test_a_data_set_is_loaded_once_for_each_process():
    assert loading.load("digits") is loading.load("digits")


def test_the_data_root_is_configurable(tmp_path, monkeypatch):
    assert registry.source("pacs").home == Path("datasets")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "a"))
    assert registry.source("pacs").home == tmp_path / "a"
    assert registry.source("pacs", tmp_path / "b").home == tmp_path / "b"


def test_listing_loads_no_heavy_library():
    code = "import sys; from fedprompt.data import registry; assert registry.entries(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"sklearn", "scipy", "pandas", "torch", "torchvision", "PIL", "rich"} & set(done.stdout.split())
