import subprocess
import sys
from pathlib import Path

import pytest

from fedprompt.benchmark.frameworks import environments


def test_a_contestant_without_requirements_runs_in_this_environment(tmp_path: Path) -> None:
    assert environments.python("plain", tmp_path) == Path(sys.executable)


def test_what_pip_cannot_install_is_told_in_plain_words_and_left_unmarked(tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("./no_such_package-1.0-py3-none-any.whl\n")
    with pytest.raises(environments.UnavailableError, match=r"of made could not .*no_such_package") as caught:
        environments.python("made", tmp_path / "environments", wanted)
    assert "--peers without made" in str(caught.value)
    assert not (tmp_path / "environments" / "made" / environments.STAMP).exists()


def test_a_folder_that_cannot_be_written_is_told_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("")
    with pytest.raises(environments.UnavailableError, match="environment of made could not be made in"):
        environments.python("made", tmp_path / "file", wanted)


def test_an_environment_sees_our_packages_after_its_own_and_is_made_once(tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("# nothing of its own\n")
    python = environments.python("made", tmp_path, wanted)
    ask = (
        "import fedprompt.benchmark as b, torch, sys; print(b.__file__); print(sys.prefix); print(*sys.path, sep='\\n')"
    )
    said = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True, env={}, cwd=tmp_path)
    benchmark, prefix, *path = said.stdout.splitlines()
    assert Path(benchmark).parents[1] == environments.PROJECT
    assert Path(prefix) == tmp_path / "made"
    own = next(i for i, place in enumerate(path) if place.startswith(prefix) and place.endswith("site-packages"))
    assert own < next(i for i, place in enumerate(path) if place in sys.path and place.endswith("site-packages"))
    (tmp_path / "made" / "kept").touch()
    environments.python("made", tmp_path, wanted)
    assert (tmp_path / "made" / "kept").exists()
