"""The kinds of failure of a run, which decide on a retry and appear in tables."""

import errno

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware.memory import free_memory, is_out_of_memory, requested
from fedprompt.data.errors import DataError

EXCEPTION = "exception"
NOT_FINITE = "not_finite"
OUT_OF_MEMORY = "out_of_memory"
WORKER_KILLED = "worker_killed"
NODE_LOST = "node_lost"
DISK_FULL = "disk_full"
NO_DATA = "no_data"
TIME_LIMIT = "time_limit"

TRANSIENT = frozenset({OUT_OF_MEMORY, WORKER_KILLED, NODE_LOST})
"""Kinds for which another attempt may succeed. A full disk would still be full at once."""

_RAY_ERRORS = {
    "OutOfMemoryError": OUT_OF_MEMORY,
    "WorkerCrashedError": WORKER_KILLED,
    "NodeDiedError": NODE_LOST,
    "LocalRayletDiedError": NODE_LOST,
    "RaySystemError": NODE_LOST,
    "ObjectLostError": NODE_LOST,
    "OwnerDiedError": NODE_LOST,
    "ObjectFetchTimedOutError": NODE_LOST,
}


def kind(error: BaseException) -> str:
    """Returns the kind of an error that a run raised, or that Ray raised about its worker."""
    if type(error).__module__.startswith("ray."):
        names = [base.__name__ for base in type(error).__mro__]
        return next((_RAY_ERRORS[name] for name in names if name in _RAY_ERRORS), EXCEPTION)
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, FloatingPointError):
        return NOT_FINITE
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL
    return NO_DATA if isinstance(error, DataError) else EXCEPTION


def too_large(method: str, error: BaseException) -> ConfigError:
    """The refusal of a method whose tensors do not fit into memory; `error` is what its first tensors raised."""
    size = requested(error)
    numbers = f" (one tensor of {size}, and {free_memory() / 1e9:,.1f} GB are free)" if size else ""
    return ConfigError(
        f"{method} needs more memory than this machine has{numbers}; "
        "lower its hyperparameters, or use a smaller backbone."
    )
