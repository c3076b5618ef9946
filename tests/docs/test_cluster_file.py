"""Ray's cluster launcher accepts the cluster file of docs/cluster.md."""

from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
DOC = Path(__file__).parents[2] / "docs" / "cluster.md"


def documented():
    (block,) = [part.partition("```")[0] for part in DOC.read_text(encoding="utf-8").split("```yaml\n")[1:]]
    return dict(yaml.safe_load(block))


def test_the_launcher_of_ray_accepts_the_documented_cluster_file():
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = prepare_config(documented())
    validate_config(whole)
    (kind,) = whole["available_node_types"].values()
    assert (kind["min_workers"], kind["max_workers"]) == (2, 2)  # the two nodes of the file
    assert whole["head_setup_commands"] == whole["worker_setup_commands"] == documented()["setup_commands"]


def test_the_launcher_refuses_a_misspelt_key():
    from ray.autoscaler._private.util import prepare_config, validate_config

    wrong = documented()
    wrong["setup_comands"] = wrong.pop("setup_commands")
    with pytest.raises(Exception, match="setup_comands"):
        validate_config(prepare_config(wrong))
