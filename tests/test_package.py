"""The distribution contains every module and data file, and works in a folder with packages of the same names."""

import configparser
import os
import re
import runpy
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import copytree

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("benchmark", "data", "methods", "results")
NOT_INSTALLED = ("results/published/",)
SWEEP = ("sweep", "--methods", "head,fedvpt", "--alpha", "0.5", "--preset", "quick")
LOAD = """
from pathlib import Path
import fedprompt.methods
from fedprompt.results import load
runs = load("runs/default")
print(sorted(set(runs["method"])), runs["seen.mean"].notna().all(), Path(fedprompt.methods.__file__).parents[2].name)
"""


@pytest.fixture(scope="module")
def setup():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def folder(package):
    """The source folder of a package."""
    return ROOT.joinpath(*package.split(".")[1:])


def test_setup_lists_every_folder_with_python_files(setup):
    with_code = {path.parent.relative_to(ROOT) for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    assert setup["options"]["packages"].split() == sorted(f"fedprompt.{'.'.join(path.parts)}" for path in with_code)
    assert all((ROOT / path / "__init__.py").is_file() for path in with_code)


def test_package_data_patterns_match_every_file_that_is_not_code(setup):
    matched: set[Path] = set()
    for package, patterns in setup["options.package_data"].items():
        for pattern in re.split(r",\s*", patterns):
            files = {path for path in folder(package).glob(pattern) if path.is_file() and path.suffix != ".py"}
            assert files, f"{package}: no file matches {pattern}"
            matched |= files
    listed = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True)
    data = {name for name in listed.stdout.split() if not name.endswith(".py") and not name.startswith(NOT_INSTALLED)}
    assert {path.relative_to(ROOT).as_posix() for path in matched} == data


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of executables of a fresh environment: the built wheel, and the dependencies of this one."""
    place = tmp_path_factory.mktemp("package")
    ignored = ("__pycache__", "published")
    for name in FOLDERS:
        copytree(ROOT / name, place / "source" / name, ignore=lambda _, names: [n for n in names if n in ignored])
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        (place / "source" / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    isolation = ["--no-build-isolation"] if has_setuptools() else []
    succeed([*pip, "wheel", "--no-deps", *isolation, "-w", str(place), str(place / "source")], place)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "venv", symlinks=os.name != "nt")
    python = next(path for path in (place / "venv").glob("*/python*") if path.stem == "python")
    succeed([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], place)
    # Python adds the folders named in a .pth file to its path but skips the .pth files in them, so that the fresh
    # environment does not see an editable install of this checkout.
    (site_packages,) = (place / "venv").rglob("site-packages")
    dependencies = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site_packages / "dependencies.pth").write_text("\n".join(dependencies))
    return python.parent


def has_setuptools():
    """Whether this environment has the setuptools that pyproject.toml requires; otherwise pip downloads it."""
    try:
        return int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.fixture(params=[True, False], ids=["packages", "folders"])
def work(request, tmp_path):
    """A user's folder whose own packages or folders have our folders' names; importing one of them raises."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "loading.py").write_text("raise RuntimeError('imported a module of the user')")
        if request.param:
            (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported a package of the user')")
    (tmp_path / "methods.py").write_text("raise RuntimeError('imported methods.py of the user')")
    return tmp_path


def succeed(command, place):
    """Run a command in a folder, without this checkout on its path; return its output."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("workers", [1, 2], ids=["in process", "on Ray"])
def test_a_sweep_in_a_folder_with_the_same_package_names_uses_the_installed_ones(installed, work, workers):
    python = str(installed / "python")
    command = [str(installed / "bench")] if workers > 1 else [python, "-m", "fedprompt.benchmark"]
    succeed([*command, *SWEEP, "--workers", str(workers)], work)
    assert succeed([python, "-c", LOAD], work).split("\n")[0] == "['fedvpt', 'head'] True site-packages"


def test_link_packages_can_run_again_and_replaces_wrong_links(tmp_path):
    script = runpy.run_path(str(ROOT / "tools" / "link_packages.py"))
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    (tmp_path / "fedprompt").mkdir()
    (tmp_path / "fedprompt" / "data").symlink_to("elsewhere")
    for _ in range(2):
        links = script["link"](tmp_path)
        assert {path.name: path.resolve() for path in links.iterdir()} == {name: tmp_path / name for name in FOLDERS}
