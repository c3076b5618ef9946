"""A virtual environment per framework: its own packages first, then those of the current environment."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = "requirements.txt"
STAMP = "requirements.installed"  # written last, so that an incomplete environment is created again
PROJECT = Path(__file__).resolve().parents[2]


class UnavailableError(RuntimeError):
    """The environment of a framework could not be created; the message says why and what to do."""


def python(framework: str, folder: Path, requirements: Path | None = None) -> Path:
    """Returns the interpreter for a framework; creates its environment first if necessary.

    Args:
        framework: Name of the framework. Without a requirements file, it uses the current interpreter.
        folder: Parent folder of the environments.
        requirements: A requirements file instead of the framework's own.

    Raises:
        UnavailableError: The environment cannot be created, or pip cannot install the requirements.
    """
    requirements = requirements or Path(__file__).parent / framework / REQUIREMENTS
    if not requirements.is_file():
        return Path(sys.executable)
    path = folder / framework
    interpreter, stamp = path / ("Scripts" if sys.platform == "win32" else "bin") / "python", path / STAMP
    content = "\n".join([sys.version, sys.prefix, str(PROJECT), requirements.read_text(encoding="utf-8")])
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == content):
        shutil.rmtree(path, ignore_errors=True)
        try:
            venv.create(path, with_pip=True)
            _share_packages(interpreter)
        except (OSError, subprocess.CalledProcessError) as error:  # a full disk; a Python without ensurepip
            raise UnavailableError(f"cannot create the environment of {framework} in {path}: {error}.") from error
        _install(framework, path, interpreter, requirements)
        stamp.write_text(content, encoding="utf-8")
    return interpreter.absolute()


def _share_packages(interpreter: Path) -> None:
    """Appends the current environment's packages, editable installs included, to the path of a new environment."""
    command = [str(interpreter), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site_packages = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    shared = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    lines = [f"import site; site.addsitedir({path!r})" for path in shared]  # also reads the `.pth` files there
    (site_packages / "shared.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _install(framework: str, path: Path, interpreter: Path, requirements: Path) -> None:
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or [done.stderr.strip()]
        reason = errors[-1].removeprefix("ERROR: ").rstrip(".")
        raise UnavailableError(
            f"cannot create the environment of {framework} in {path}: {reason}. "
            f"Run the same command with network access, or omit {framework} from --frameworks."
        )
