import shutil
import sys
from pathlib import Path

import pytest

from fedprompt.benchmark.frameworks import interpreters
from fedprompt.benchmark.frameworks.interpreters import Interpreter, UnavailableError

CURRENT = sys.version_info[:2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand for interpreters")


def fake(path, version, abi=".abi"):
    """Writes a program that answers as a Python of this version does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho \'[[3, {version}], "{abi}", "3.{version}.0"]\'\n')
    path.chmod(0o700)
    return path


@pytest.fixture
def installations(tmp_path, monkeypatch):
    """The current Python is 3.11, installed beside 3.12 and 3.13; PATH has none."""
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "3.11.7"))
    monkeypatch.setattr(sys, "executable", str(fake(tmp_path / "3.11.7" / "bin" / "python3.11", 11)))
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for version in (12, 13):
        fake(tmp_path / f"3.{version}.1" / "bin" / f"python3.{version}", version)
    return tmp_path


def test_the_current_python_is_used_where_it_suits(installations):
    assert interpreters.find("flower").path == Path(sys.executable)
    assert interpreters.find("pfl").version == (3, 11)


def test_the_newest_suitable_python_beside_the_current_one_is_found(installations):
    assert interpreters.find("blazefl").path == installations / "3.13.1" / "bin" / "python3.13"


def test_a_python_on_path_that_does_not_run_is_passed_over(installations, monkeypatch):
    broken = installations / "shims" / "python3.13"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o700)
    monkeypatch.setattr(shutil, "which", lambda name: str(broken) if name == "python3.13" else None)
    assert interpreters.find("blazefl").path == installations / "3.13.1" / "bin" / "python3.13"


def test_without_a_suitable_python_the_message_names_versions_and_remedy(installations):
    for version in (12, 13):
        shutil.rmtree(installations / f"3.{version}.1")
    with pytest.raises(UnavailableError) as caught:
        interpreters.find("blazefl")
    assert str(caught.value) == (
        f"blazefl needs Python 3.12 to 3.14, and none is on PATH or beside {installations / '3.11.7'}. "
        "Pass one with --python blazefl=FILE, or omit blazefl from --frameworks."
    )


def test_a_chosen_python_is_used(installations):
    chosen = fake(installations / "python3.14t", 14, ".cpython-314t.so")
    found = interpreters.find("blazefl", chosen)
    assert found == Interpreter(chosen, (3, 14), ".cpython-314t.so", "3.14.0")
    assert not found.shares_packages


def test_a_chosen_python_of_a_wrong_version_is_refused(installations):
    with pytest.raises(UnavailableError, match=r"this is Python 3\.13, and pfl needs Python 3\.10 to 3\.12"):
        interpreters.find("pfl", installations / "3.13.1" / "bin" / "python3.13")


def test_a_chosen_program_that_is_no_python_is_refused(installations):
    with pytest.raises(UnavailableError, match=r"--python pfl=/bin/true: this is no Python interpreter"):
        interpreters.find("pfl", Path("/bin/true"))


def test_the_running_python_shares_its_own_packages():
    found = interpreters.inspect(Path(sys.executable))
    assert found is not None
    assert found.version == CURRENT
    assert found.shares_packages
