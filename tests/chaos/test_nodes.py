"""A node with other package versions than the driver is rejected before the first run."""

import os
from pathlib import Path

import pytest

from tests.chaos.processes import start

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_node_with_another_version_is_reported_and_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.cluster_utils import Cluster

    other = tmp_path / "packages" / "timm-0.0.1.dist-info"  # found before the real one, on the node only
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 0.0.1\n")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("PYTHONPATH", os.pathsep.join([str(other.parent), os.environ.get("PYTHONPATH", "")]))
            cluster.add_node(num_cpus=1)
        words = ("--methods", "head", "--seed", 0, "--rounds", 1, "--address", cluster.address)
        process = start("sweep", *words, "--out", tmp_path / "runs")
        _, err = process.communicate(timeout=200)
    finally:
        cluster.shutdown()
    assert process.returncode == 2, err
    (message,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "has timm 0.0.1; the driver has " in message
    assert not list((tmp_path / "runs").glob("*"))
