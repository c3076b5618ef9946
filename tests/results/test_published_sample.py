"""One cheap run of each published folder is repeated and has its published numbers."""

from pathlib import Path

import pytest

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.reproduce import TOLERANCE, config_of
from fedprompt.benchmark.sharing.exported_run import ExportedRun
from fedprompt.data.datasets.prepare import prepare
from fedprompt.data.errors import DataError
from fedprompt.results import load
from tools.render_published import PUBLISHED

FOLDERS = sorted(path.parent for path in PUBLISHED.glob("*/runs.parquet"))
CURRENT = "embedded-default"
SHARED = Path(__file__).parents[2] / "../shared/data"
NAMES = {
    "cifar10-500-100.npz": "cifar10.subset-500train-100test.npz",
    "vit_tiny.safetensors": "vit_tiny_patch16_224.in21k_in1k_tinyimagenet.backbone.fp16.safetensors",
}
"""The names of data and weights in the records of studies, and in the folder of real data."""
ARCHIVES = {"pacs": "PACS.subset-60.zip"}


@pytest.fixture
def real_data(folder, tmp_path, monkeypatch):
    """A working directory with data and weights of the studies, where they are present."""
    for name, file in NAMES.items():
        if (SHARED / file).is_file():
            (tmp_path / name).symlink_to((SHARED / file).resolve())
    for name, file in ARCHIVES.items():
        if folder.name.startswith(name) and (SHARED / file).is_file():
            prepare(name, tmp_path / "data", [SHARED / file])
    monkeypatch.chdir(tmp_path)


def cheapest(runs):
    """The fastest finished run that trains."""
    trained = runs[(runs["status"] == "done") & (runs.get("images_train", runs["seconds"]) > 0)]
    return trained.sort_values(["seconds", "run_id"]).iloc[0]


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_published_run_has_the_same_numbers_again(folder, real_data):
    row = cheapest(load(folder))
    run = ExportedRun(folder, row["run_id"])
    try:
        config = config_of(run.entry, ())
    except (ConfigError, DataError) as error:
        if folder.name == CURRENT:
            raise
        pytest.skip(f"of an earlier version, or of data that is absent: {error}")
    assert config.run_id == row["run_id"]
    comparison = run.reproduce(config, lambda *_: None)
    assert comparison.accuracy <= TOLERANCE, comparison.numbers[:20]
    fixed = ("federation_", "images_", "upload_mb", "download_mb", "shared_", "local_")
    assert [line for line in comparison.numbers if line.startswith(fixed)] == []
