"""Ray's cluster launcher accepts the cluster file of docs/cluster.md, and a shell the script for Slurm."""

import re
import shutil
import subprocess
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


def script():
    """The batch script for Slurm."""
    (text,) = re.findall(
        r'```sh title="sweep.sbatch"\n(.*?)^```$', DOC.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return text


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_shell_can_parse_the_batch_script():
    done = subprocess.run(["bash", "-n"], input=script(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_batch_script_uses_options_that_ray_has():
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    given = [set(re.findall(r"--[a-z-]+", line)) for line in script().splitlines() if "ray start" in line]
    assert len(given) == 2
    assert all(options <= known for options in given)
