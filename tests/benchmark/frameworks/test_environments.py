import subprocess
import sys
import venv
from pathlib import Path

import pytest

from fedprompt.benchmark.frameworks import environments


@pytest.fixture(params=["small", pytest.param("whole", marks=pytest.mark.slow)])
def created(request, monkeypatch):
    """A small environment has no pip of its own, which takes seconds to install, but that of the shared packages."""
    if request.param == "small":
        create = venv.create
        monkeypatch.setattr(venv, "create", lambda path, with_pip: create(path))


def test_a_framework_without_requirements_uses_this_interpreter(tmp_path):
    assert environments.python("plain", tmp_path) == Path(sys.executable)


@pytest.mark.usefixtures("created")
def test_a_failed_installation_is_reported_and_leaves_no_stamp(tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("./no_such_package-1.0-py3-none-any.whl\n")
    with pytest.raises(environments.UnavailableError, match=r"environment of other in .*no_such_package") as caught:
        environments.python("other", tmp_path / "environments", requirements)
    assert "omit other from --frameworks" in str(caught.value)
    assert not (tmp_path / "environments" / "other" / environments.STAMP).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("")
    with pytest.raises(environments.UnavailableError, match=r"create the environment of other in .*file"):
        environments.python("other", tmp_path / "file", requirements)


@pytest.mark.usefixtures("created")
def test_an_environment_has_our_packages_after_its_own_and_is_created_once(tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# no packages\n")
    python = environments.python("other", tmp_path, requirements)
    code = (
        "import fedprompt.benchmark as b, torch, sys; print(b.__file__); print(sys.prefix); print(*sys.path, sep='\\n')"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env={}, cwd=tmp_path)
    benchmark, prefix, *path = done.stdout.splitlines()
    assert Path(benchmark).parents[1] == environments.PROJECT
    assert Path(prefix) == tmp_path / "other"
    first = next(i for i, place in enumerate(path) if place.startswith(prefix) and place.endswith("site-packages"))
    assert first < next(i for i, place in enumerate(path) if place in sys.path and place.endswith("site-packages"))
    (tmp_path / "other" / "marker").touch()
    environments.python("other", tmp_path, requirements)
    assert (tmp_path / "other" / "marker").exists()
