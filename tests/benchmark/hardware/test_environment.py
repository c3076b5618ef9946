import platform
import subprocess
from importlib.metadata import PackageNotFoundError
from unittest.mock import Mock

import pytest
import torch

from fedprompt.benchmark.hardware import environment


@pytest.fixture(autouse=True)
def clear_cache():
    environment.describe.cache_clear()
    yield
    environment.describe.cache_clear()


def test_versions_are_those_of_the_running_packages():
    facts = environment.describe()
    assert facts["python"] == platform.python_version()
    assert facts["torch"] == torch.__version__.split("+")[0] or facts["torch"] == torch.__version__
    assert facts["processor"]


def test_a_missing_package_is_recorded_as_absent(monkeypatch):
    def raise_not_found(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(environment, "version", raise_not_found)
    assert environment.describe()["ray"] == "absent"


def test_without_git_the_commit_is_empty(monkeypatch):
    monkeypatch.setattr(subprocess, "run", Mock(side_effect=FileNotFoundError("git")))
    assert environment.describe()["git_commit"] == ""
