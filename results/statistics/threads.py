"""One thread for matrix products: several only wait for each other in small ones, and the last bits depend on them."""

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """A context in which NumPy multiplies matrices with one thread: results are then equal on all machines."""
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries() -> ThreadpoolController:
    """The loaded libraries; to find them takes longer than to limit them."""
    return ThreadpoolController()
