"""A virtual environment for each peer: its own packages first, then those of the environment that runs this."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = "requirements.txt"
STAMP = "requirements.installed"  # written last, so that an environment left half made is made again

PROJECT = Path(__file__).parents[2]


class UnavailableError(RuntimeError):
    """A peer's environment could not be made; the message says which, where and why."""


def python(peer: str, folder: Path, requirements: Path | None = None) -> Path:
    """The interpreter that runs `peer`: this one, or that of an environment made under `folder` where it needs one.

    Raises `UnavailableError` where it cannot be made, or pip cannot install what the peer asks for.
    """
    wanted = requirements or Path(__file__).parent / peer / REQUIREMENTS
    if not wanted.is_file():
        return Path(sys.executable)
    place = folder / peer
    interpreter = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    stamp, content = (
        place / STAMP,
        "\n".join([sys.version, sys.prefix, str(PROJECT), wanted.read_text(encoding="utf-8")]),
    )
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == content):
        shutil.rmtree(place, ignore_errors=True)
        try:
            venv.create(place, with_pip=True)
            _share(interpreter)
        except (OSError, subprocess.CalledProcessError) as error:  # a full disk; a Python without ensurepip
            raise UnavailableError(f"the environment of {peer} could not be made in {place}: {error}.") from error
        _install(peer, place, interpreter, wanted)
        stamp.write_text(content, encoding="utf-8")
    return interpreter.absolute()


def _share(interpreter: Path) -> None:
    """Appends this environment's packages to the new one's path, those of editable installs included."""
    asked = [str(interpreter), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    shared = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    lines = [f"import site; site.addsitedir({path!r})" for path in shared]  # reads the `.pth` files there, too
    (own / "shared.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _install(peer: str, place: Path, interpreter: Path, wanted: Path) -> None:
    command = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or [done.stderr.strip()]
        reason = reasons[-1].removeprefix("ERROR: ").rstrip(".")
        raise UnavailableError(
            f"the environment of {peer} could not be made in {place}: {reason}. "
            f"With a network, the same command makes it; --peers without {peer} does without."
        )
