"""Finds a Python for each framework: some need another version than that of the current environment."""

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Version = tuple[int, int]

VERSIONS: dict[str, tuple[Version, Version]] = {"pfl": ((3, 10), (3, 12)), "blazefl": ((3, 12), (3, 14))}
"""First and last version that a framework can be installed on, where this program runs on others too."""
QUESTION = """
import json, sys, sysconfig
print(json.dumps([sys.version_info[:2], sysconfig.get_config_var("EXT_SUFFIX"), sys.version]))
"""


class UnavailableError(RuntimeError):
    """The environment of a framework could not be created; the message says why and what to do."""


@dataclass(frozen=True)
class Interpreter:
    """An installed Python.

    Attributes:
        path: The program.
        version: Major and minor version.
        abi: What names of compiled modules end with; free-threaded builds have their own.
        build: Full version and compiler.
    """

    path: Path
    version: Version
    abi: str
    build: str

    @property
    def shares_packages(self) -> bool:
        """Whether it can import the compiled packages of the current environment."""
        return self.abi == sysconfig.get_config_var("EXT_SUFFIX")


def find(framework: str, chosen: Path | None = None) -> Interpreter:
    """Returns the interpreter for the environment of a framework.

    This is `chosen`; else the current one if its version suits; else the newest suitable one on PATH or beside the
    installation of the current one.

    Raises:
        UnavailableError: `chosen` is no suitable interpreter, or there is none.
    """
    need = _need(framework)
    if chosen is not None:
        found = inspect(chosen)
        if found is None:
            raise UnavailableError(f"--python {framework}={chosen}: this is no Python interpreter.")
        if not _suits(framework, found.version):
            raise UnavailableError(f"--python {framework}={chosen}: this is Python {_text(found.version)}, and {need}.")
        return found
    for candidate in _candidates(framework):
        found = inspect(candidate)
        if found is not None and _suits(framework, found.version):
            return found
    raise UnavailableError(
        f"{need}, and none is on PATH or beside {sys.base_prefix}. "
        f"Pass one with --python {framework}=FILE, or omit {framework} from --frameworks."
    )


def inspect(python: Path) -> Interpreter | None:
    """Returns what is known about an interpreter; None if it does not run."""
    try:
        done = subprocess.run([str(python), "-c", QUESTION], capture_output=True, text=True, check=True, timeout=60)
        version, abi, build = json.loads(done.stdout)
        return Interpreter(python.absolute(), (version[0], version[1]), str(abi), str(build))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _candidates(framework: str) -> Iterator[Path]:
    """Yields the current Python; then, newest first, `python3.N` on PATH and beside the current installation."""
    if _suits(framework, sys.version_info[:2]):
        yield Path(sys.executable)
    (_, low), (_, high) = VERSIONS.get(framework, ((3, 0), (3, -1)))
    for minor in range(high, low - 1, -1):
        name = f"python3.{minor}"
        on_path = shutil.which(name)
        if on_path:
            yield Path(on_path)
        yield from sorted(Path(sys.base_prefix).parent.glob(f"*/bin/{name}"))  # as pyenv and uv install them


def _suits(framework: str, found: tuple[int, ...]) -> bool:
    low, high = VERSIONS.get(framework, ((3, 0), (4, 0)))
    return low <= found <= high


def _need(framework: str) -> str:
    if framework not in VERSIONS:
        return f"{framework} needs Python 3"
    return f"{framework} needs Python {' to '.join(map(_text, VERSIONS[framework]))}"


def _text(found: Version) -> str:
    return ".".join(map(str, found))
