import subprocess
import sys
from pathlib import Path

import pytest

from fedprompt.benchmark.frameworks import environments, interpreters
from fedprompt.benchmark.frameworks.environments import Environments
from fedprompt.benchmark.frameworks.interpreters import Interpreter, UnavailableError


@pytest.fixture(params=["small", pytest.param("whole", marks=pytest.mark.slow)])
def created(request, monkeypatch):
    """A small environment has no pip of its own, which takes seconds to install, but that of the shared packages."""
    if request.param == "small":
        monkeypatch.setattr(environments, "VENV", ("-m", "venv", "--without-pip"))


@pytest.fixture
def requirements(tmp_path):
    """A requirements file without packages."""
    file = tmp_path / "requirements.txt"
    file.write_text("# no packages\n")
    return file


def test_a_framework_without_requirements_uses_this_interpreter(tmp_path):
    assert Environments(tmp_path).python("plain") == Path(sys.executable)


def test_such_a_framework_takes_no_other_python(tmp_path):
    with pytest.raises(UnavailableError, match="--python plain=python3: plain runs in the current environment"):
        Environments(tmp_path, {"plain": Path("python3")}).python("plain")


@pytest.mark.usefixtures("created")
def test_a_failed_installation_is_reported_and_leaves_no_stamp(tmp_path, requirements):
    requirements.write_text("./no_such_package-1.0-py3-none-any.whl\n")
    with pytest.raises(UnavailableError, match=r"environment of other in .*no_such_package") as caught:
        environments.create(tmp_path / "other", "other", requirements)
    assert "omit other from --frameworks" in str(caught.value)
    assert not (tmp_path / "other" / environments.STAMP).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, requirements):
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"create the environment of other in .*file") as caught:
        environments.create(tmp_path / "file" / "other", "other", requirements)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("created")
def test_an_environment_has_our_packages_after_its_own_and_is_created_once(tmp_path, requirements, monkeypatch):
    installed = environments._installed()
    python = environments.create(tmp_path / "other", "other", requirements)
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
    environments.create(tmp_path / "other", "other", requirements)
    assert (tmp_path / "other" / "marker").exists()
    monkeypatch.setattr(environments, "_installed", lambda: installed | {"another 1.0"})
    environments.create(tmp_path / "other", "other", requirements)
    assert (tmp_path / "other" / "marker").exists()
    monkeypatch.setattr(environments, "_installed", lambda: installed - {max(installed)})
    environments.create(tmp_path / "other", "other", requirements)
    assert not (tmp_path / "other" / "marker").exists()


@pytest.mark.usefixtures("created")
def test_other_requirements_give_a_new_environment(tmp_path, requirements):
    environments.create(tmp_path / "other", "other", requirements)
    (tmp_path / "other" / "marker").touch()
    requirements.write_text("# still none\n")
    environments.create(tmp_path / "other", "other", requirements)
    assert not (tmp_path / "other" / "marker").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need privileges")
def test_another_python_gets_this_project_and_the_same_torch_but_none_of_our_packages(
    tmp_path, requirements, monkeypatch
):
    other = Interpreter(Path(sys.executable), (3, 99), ".abi-of-3.99", "3.99")
    monkeypatch.setattr(interpreters, "find", lambda *_: other)
    monkeypatch.setattr(environments, "VENV", ("-m", "venv", "--without-pip"))
    monkeypatch.setattr(environments, "version", {"torch": "2.5+cpu", "torchvision": "0.20", "timm": "1.1"}.__getitem__)
    installed: list[list[str]] = []
    monkeypatch.setattr(environments, "_install", lambda *arguments: installed.append(arguments[-1]))
    python = environments.create(tmp_path / "other", "other", requirements)
    assert installed == [["# no packages", "torch==2.5", "torchvision==0.20", "timm==1.1"]]
    code = "import fedprompt.benchmark as b, fedprompt.methods.errors, sys; print(b.__file__, *sys.path, sep='\\n')"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env={}, cwd=tmp_path)
    benchmark, *path = done.stdout.splitlines()
    assert Path(benchmark).resolve().parents[1] == environments.PROJECT
    assert not [place for place in path if place in sys.path and place.endswith("site-packages")]
