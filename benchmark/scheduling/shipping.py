"""The code and the plug-ins that a driver ships to the nodes of a Ray cluster."""

import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGES = ("methods", "data", "benchmark", "results")
WORKER_ENVIRONMENT = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def runtime_environment(folder: Path, plugins: Sequence[str]) -> dict[str, Any]:
    """Copies the code and the plug-ins into a temporary folder; returns the Ray runtime environment that ships them.

    Ray installs a module under the name of its folder. The packages are therefore shipped as one folder `fedprompt`,
    so that no package is called `data` or `methods` on a node.
    """
    package = folder / "fedprompt"
    package.mkdir()
    (package / "__init__.py").touch()  # gives it precedence over another version installed as a namespace
    for name in PACKAGES:
        source = import_module(f"fedprompt.{name}").__path__[0]
        shutil.copytree(source, package / name, ignore=shutil.ignore_patterns("__pycache__", "published"))
    environment: dict[str, Any] = {"py_modules": [str(package)], "env_vars": WORKER_ENVIRONMENT}
    if not plugins:
        return environment
    for file, path in plugin_paths(plugins).items():
        target = folder / "plugins" / path
        target.parent.mkdir(parents=True)
        shutil.copy(file, target)
    return environment | {"working_dir": str(folder / "plugins")}


def plugin_paths(plugins: Sequence[str]) -> dict[str, str]:
    """Returns the path of each shipped plug-in, relative to the working directory of a worker."""
    return {file: f"{number}/{Path(file).name}" for number, file in enumerate(plugins)}
