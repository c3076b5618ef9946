import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from fedprompt.benchmark.hardware import environment


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    environment.describe.cache_clear()
    yield
    environment.describe.cache_clear()


def test_versions_are_those_that_run() -> None:
    found = environment.describe()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert found["processor"]


def test_a_package_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(environment, "version", absent)
    assert environment.describe()["ray"] == "absent"


def test_without_git_the_commit_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert environment.describe()["git_commit"] == ""
