import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.scheduling.shipping import PACKAGES, plugin_paths, runtime_environment
from tests.benchmark.conftest import SMALL
from tests.chaos.processes import BENCH

RAISES = "raise ImportError('a file of the user was imported')\n"


@pytest.fixture(params=[True, False], ids=["packages", "folders"])
def hostile_folder(request, tmp_path):
    """A folder with a module `methods.py` and folders named like the packages of this project, which must not load."""
    folder = tmp_path / "hostile"
    for name in PACKAGES:
        (folder / name).mkdir(parents=True)
        (folder / name / ("__init__.py" if request.param else "registry.py")).write_text(RAISES)
    (folder / "methods.py").write_text(RAISES)
    return folder


def python(*words, cwd, path=""):
    environment = os.environ | {"PYTHONPATH": str(path)}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=480)


@pytest.mark.slow
@pytest.mark.serial
def test_ray_workers_import_no_folder_of_the_user(hostile_folder):
    grid = ("--methods", "head", "--seeds", "0,1", *SMALL, "--retries", 0, "--workers", 2, "--out", "runs")
    done = python("-c", BENCH, "sweep", *grid, cwd=hostile_folder)
    assert done.returncode == 0, done.stderr
    assert [entry.status for entry in Store(hostile_folder / "runs").entries()] == ["done", "done"]


@pytest.mark.slow
def test_the_shipped_code_is_one_package_and_is_preferred_to_others(hostile_folder, tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text("x = 1")
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    environment = runtime_environment(shipped, [str(plugin)])
    assert environment["py_modules"] == [str(shipped / "fedprompt")]
    assert sorted(path.name for path in (shipped / "fedprompt").iterdir()) == ["__init__.py", *sorted(PACKAGES)]
    assert not list(shipped.rglob("__pycache__"))
    assert not (shipped / "fedprompt" / "results" / "published").exists()
    assert (Path(environment["working_dir"]) / plugin_paths([str(plugin)])[str(plugin)]).read_text() == "x = 1"
    (hostile_folder / "fedprompt").mkdir()  # another portion of the namespace
    code = "import fedprompt.benchmark.scheduling.pools.ray_pool as module; print(module.__file__)"
    imported = python("-c", code, cwd=hostile_folder, path=shipped)
    assert imported.stdout.strip() == str(
        shipped / "fedprompt" / "benchmark" / "scheduling" / "pools" / "ray_pool.py"
    ), imported.stderr
