"""A virtual environment per framework: its own packages first, then those of the current environment.

A framework that needs another version of Python cannot use the packages of the current environment. Its environment has
its own, with the same versions of torch and timm.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import distributions, version
from pathlib import Path

from fedprompt.benchmark.frameworks import interpreters
from fedprompt.benchmark.frameworks.interpreters import UnavailableError

REQUIREMENTS = "requirements.txt"
STAMP = "requirements.installed"  # written last, so that an incomplete environment is created again
FRAMEWORKS = Path(__file__).resolve().parent
PROJECT = FRAMEWORKS.parents[1]
PACKAGES = ("benchmark", "data", "methods", "results")
VENV = ("-m", "venv")
MODEL = ("torch", "torchvision", "timm")  # what `model.py` needs; they bring numpy and safetensors


@dataclass(frozen=True)
class Environments:
    """The environments of the frameworks.

    Attributes:
        folder: Their parent folder.
        pythons: The Python of an environment, by framework; others: see `interpreters.find`.
    """

    folder: Path
    pythons: dict[str, Path] = field(default_factory=dict)

    def python(self, framework: str) -> Path:
        """Returns the interpreter for a framework; creates its environment first if necessary.

        A framework without a requirements file uses the current interpreter.

        Raises:
            UnavailableError: No Python is suitable, the environment cannot be created, or pip cannot install the
                requirements.
        """
        requirements, chosen = FRAMEWORKS / framework / REQUIREMENTS, self.pythons.get(framework)
        if requirements.is_file():
            return create(self.folder / framework, framework, requirements, chosen)
        if chosen is not None:
            raise UnavailableError(f"--python {framework}={chosen}: {framework} runs in the current environment.")
        return Path(sys.executable)


def create(path: Path, framework: str, requirements: Path, chosen: Path | None = None) -> Path:
    """Creates or updates the environment in the folder `path`; returns its interpreter.

    Raises:
        UnavailableError: See `Environments.python`.
    """
    base = interpreters.find(framework, chosen)
    interpreter, stamp = path / ("Scripts" if sys.platform == "win32" else "bin") / "python", path / STAMP
    wanted = requirements.read_text(encoding="utf-8").splitlines()
    wanted += [] if base.shares_packages else [f"{name}=={version(name).partition('+')[0]}" for name in MODEL]
    recipe, shared = "\n".join([base.build, *wanted]), _installed() if base.shares_packages else set()
    current = _is_current(stamp, recipe, shared)
    try:
        if not current:
            shutil.rmtree(path, ignore_errors=True)
            subprocess.run([str(base.path), *VENV, str(path)], capture_output=True, text=True, check=True)
        (_share_packages if base.shares_packages else _link_project)(interpreter, path)
    except (OSError, subprocess.CalledProcessError) as error:  # a full disk; a Python without ensurepip
        raise UnavailableError(f"cannot create the environment of {framework} in {path}: {_reason(error)}.") from error
    if not current:
        _install(framework, path, interpreter, wanted)
        stamp.write_text("\n\n".join([recipe, "\n".join(sorted(shared))]), encoding="utf-8")
    return interpreter.absolute()


def _installed() -> set[str]:
    """Returns the packages of the current environment, which pip takes as given in the new one."""
    return {f"{found.name} {found.version}" for found in distributions()}


def _is_current(stamp: Path, recipe: str, shared: set[str]) -> bool:
    """Whether an environment has the wanted packages, and those that it shares are still there; others do no harm."""
    if not stamp.is_file():
        return False
    then, _, packages = stamp.read_text(encoding="utf-8").partition("\n\n")
    return then == recipe and shared.issuperset(packages.splitlines())


def _share_packages(interpreter: Path, path: Path) -> None:
    """Appends the current environment's packages, editable installs included, to the path of an environment.

    This is done at every start, so that checkouts of this project with the same packages can use one environment.
    """
    shared = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    lines = [f"import site; site.addsitedir({place!r})" for place in shared]  # also reads the `.pth` files there
    _write_path_file(interpreter, lines)


def _link_project(interpreter: Path, path: Path) -> None:
    """Adds this project, without the packages beside it, to the path of an environment of another Python."""
    namespace = path / "project" / "fedprompt"
    namespace.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        (namespace / name).unlink(missing_ok=True)
        (namespace / name).symlink_to(PROJECT / name, target_is_directory=True)
    _write_path_file(interpreter, [str(namespace.parent.absolute())])


def _write_path_file(interpreter: Path, lines: list[str]) -> None:
    command = [str(interpreter), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site_packages = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    (site_packages / "shared.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
    output = f"{error.stderr or error.stdout}".strip() if isinstance(error, subprocess.CalledProcessError) else ""
    return (output.splitlines() or [str(error)])[-1].rstrip(".")


def _install(framework: str, path: Path, interpreter: Path, wanted: list[str]) -> None:
    listed = path / REQUIREMENTS
    listed.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(listed)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or [done.stderr.strip()]
        reason = errors[-1].removeprefix("ERROR: ").rstrip(".")
        raise UnavailableError(
            f"cannot create the environment of {framework} in {path}: {reason}. "
            f"Run the same command with network access, or omit {framework} from --frameworks."
        )
