"""Identities of data sets for plans, which need no installed data. This module does not import torch."""

from pathlib import Path

from fedprompt.data import loading, registry
from fedprompt.data.errors import DataError

ABSENT = "absent"
"""Identity, in a plan, of a data set that is not installed."""


def identity(name: str, root: Path | None, skip_corrupt: bool = False) -> str:
    """Returns the identity of a data set, or `ABSENT` if it is not installed. Raises DataError for other faults."""
    try:
        return loading.identity(name, root, skip_corrupt)
    except DataError:
        if registry.source(name, root).absent():
            return ABSENT
        raise
