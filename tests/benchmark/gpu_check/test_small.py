"""The whole command at its smallest size, without the packages that GPU machines often lack."""

import json
import os
import subprocess
import sys

import pytest

ABSENT = ("ray", "scikit_posthocs", "plotly")
REFUSE = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.slow
def test_all_checks_pass_on_a_cpu_without_ray_and_the_packages_of_reports(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(REFUSE)  # every process refuses these packages, also those of the checks
    paths = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    words = ("gpu-check", "--device", "cpu", "--small", "--out", str(tmp_path / "out"))
    done = subprocess.run(
        [sys.executable, "-m", "fedprompt.benchmark", *words],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    saved = json.loads((tmp_path / "out" / "gpu-check.json").read_text())
    assert all(check["status"] == "done" for check in saved["checks"].values())
    assert (tmp_path / "out" / "gpu-check.png").is_file()
    refused = subprocess.run(
        [sys.executable, "-c", "import ray"], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert "No module named 'ray'" in refused.stderr
