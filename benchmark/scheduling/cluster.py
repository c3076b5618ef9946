"""Connects to Ray, and checks that a cluster answers before a sweep is prepared for it."""

import logging
import os
import re
import signal
import socket
import threading
from typing import Any

from fedprompt.benchmark.errors import ConfigError

AUTO = "auto"
TIMEOUT = 3.0  # seconds for the head of a cluster to accept a connection; Ray itself tries for a minute


def connect(address: str, **options: Any) -> None:
    """Connects to the cluster at `address`. Keeps the handler of SIGTERM.

    Raises:
        ConfigError: No cluster answers.
    """
    import ray

    sigterm_handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except (ConnectionError, ValueError, ray.exceptions.RayError) as error:
        raise _no_answer(address) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, sigterm_handler)  # Ray has replaced it


def check_address(address: str) -> None:
    """Raises `ConfigError`, after a few seconds at most, if no cluster answers at the address."""
    found = os.environ.get("RAY_ADDRESS") or AUTO if address == AUTO else address
    if place := re.fullmatch(r"(?:ray://)?\[?([^/\[\]]+)\]?:(\d+)", found):
        try:
            socket.create_connection((place[1], int(place[2])), TIMEOUT).close()
        except (OSError, OverflowError) as error:
            raise _no_answer(address) from error
    elif found == AUTO:
        import ray

        connect(AUTO)
        ray.shutdown()


def _no_answer(address: str) -> ConfigError:
    return ConfigError(
        f"--address {address}: no Ray cluster answers; `ray start --head` starts one. If Ray asks for a token, set "
        "RAY_AUTH_MODE=token here too (docs/cluster.md)."
    )
