"""Imports what registers methods: the modules of this package, entry points and plug-in files."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fedprompt.methods.errors import MethodError
from fedprompt.methods.registration import BROKEN, METHODS, OPTIMISERS
from fedprompt.methods.renamed import explain

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PACKAGE = __name__.rpartition(".")[0]
GROUPS = ("fedprompt.methods", "bench.methods")  # entry points; the second is the name in version 0.1
logger = logging.getLogger(__name__)


def discover() -> None:
    """Imports all methods, optimisers and entry points. Import errors of entry points are stored in `BROKEN`.

    An entry point of the old group is ignored if the new group has one of the same name.
    """
    here = Path(__file__).parent
    for package, folder in ((PACKAGE, here), (f"{PACKAGE}.optimisers", here / "optimisers")):
        for module in pkgutil.iter_modules([str(folder)]):
            if not module.ispkg:
                importlib.import_module(f"{package}.{module.name}")
    new = {point.name for point in _entry_points() if point.group == GROUPS[0]}
    for point in _entry_points():
        if point.name not in BROKEN and (point.group == GROUPS[0] or point.name not in new):
            try:
                with _taken_back_on_error():
                    point.load()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # third-party modules may raise anything, or call sys.exit
                BROKEN[point.name] = _reason(error)
                logger.warning("plug-in %s failed to import and is left out: %s", point.name, BROKEN[point.name])


@cache  # scanning all installed distributions is slow
def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # slow to import, and `bench --help` needs none

    found = entry_points()
    return [point for group in GROUPS for point in found.select(group=group)]


@contextmanager
def _taken_back_on_error() -> Iterator[None]:
    """Takes back what the body registers if it raises."""
    before = [(table, dict(table)) for table in (METHODS, OPTIMISERS)]
    try:
        yield
    except BaseException:  # also sys.exit and Ctrl-C leave no half of a plug-in registered
        for table, old in before:
            table.clear()
            table.update(old)  # type: ignore[arg-type]
        raise


def _reason(error: BaseException) -> str:
    """The error of a plug-in in one line."""
    renamed = explain(error) if isinstance(error, ImportError) else ""
    try:
        lines = (renamed or str(error)).strip().splitlines()
    except Exception:  # the error's own method may raise anything
        lines = ["its message cannot be read"]
    return ": ".join((type(error).__name__, *lines[:1]))


def load_plugin(path: str | Path) -> None:
    """Imports a plug-in, once.

    Raises:
        MethodError: The file is absent, fails or registers nothing. Registrations of a failed file are undone.
    """
    file = Path(path).resolve()
    module_name = f"bench_plugin_{file.stem}_{hashlib.sha256(bytes(file)).hexdigest()[:8]}"
    if module_name in sys.modules:
        return
    if not file.is_file():
        raise MethodError(f"--plugin {path}: there is no such file.")
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise MethodError(f"--plugin {path}: not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    registered = len(METHODS) + len(OPTIMISERS)
    sys.modules[module_name] = module
    try:
        with _taken_back_on_error():
            spec.loader.exec_module(module)
            if registered == len(METHODS) + len(OPTIMISERS):
                raise MethodError(f"--plugin {path} registers no method: decorate its class with @register(...).")
    except BaseException as error:  # plug-ins may raise anything, or call sys.exit
        sys.modules.pop(module_name, None)
        if isinstance(error, MethodError | KeyboardInterrupt):
            raise
        if isinstance(error, ImportError) and (renamed := explain(error)):
            raise MethodError(f"--plugin {path} {renamed}") from error
        raise MethodError(f"--plugin {path} cannot be imported: {_reason(error)}") from error
