"""Software and hardware that a run used: part of its record."""

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "timm", "torchvision", "ray", "numpy", "scipy", "scikit-learn", "pandas")


@lru_cache(maxsize=1)
def describe() -> dict[str, str]:
    """Returns versions of Python and of the packages that affect numbers, the processor, and the git commit."""
    facts = {"python": platform.python_version(), "platform": platform.platform(), "processor": _processor()}
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "absent"
    return facts | {"git_commit": _commit()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """Returns the commit of the source tree, with `+` where files were changed; empty outside a git checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        run = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        return subprocess.run(run, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):  # git is not installed, or too slow
        return ""
