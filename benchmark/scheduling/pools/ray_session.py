"""Ray on this machine for one sweep: only for this machine and whoever has the token, in a folder that is deleted."""

import logging
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.scheduling.pools import session_end
from fedprompt.benchmark.scheduling.pools.ray_thread import RayThread

SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": None,  # has precedence over the file
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # no cluster, as on Windows and macOS: all servers bind to loopback
    "RAY_enable_metrics_collection": "0",  # fewer ports
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it would abort this process on SIGTERM
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # Ray would print the log of a server that has died
}
"""The environment variables of the session's processes. None: must be absent."""
LOOPBACK = ("127.0.0.1", "::1")
LONGEST_PATH = 16
"""Characters of a temporary directory in which Ray's sockets have valid paths: of at most 103, this adds 86."""
SERVERS = ("gcs_server", "raylet")
"""The processes without which no run can continue."""
OPEN_FILES, OPEN_FILES_PER_RUN = 128, 8
"""The limit of open files that Ray's servers need; with two runs at a time, one had 68 files open."""
END_TIMEOUT = 3.0  # seconds to wait for the end of the processes of a session; it comes in any case


def check_open_files(workers: int) -> None:
    """Raises `ConfigError` if Ray's servers on this machine may open too few files for so many runs at a time.

    With a limit of 30, Ray waits for half a minute, and then names another cause. It raises the soft limit to the hard
    one by itself.
    """
    import resource

    needed, limit = OPEN_FILES + OPEN_FILES_PER_RUN * workers, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise ConfigError(
            f"Ray needs {needed} open files per process for {workers} runs at a time; the limit is {limit}.\n"
            "Raise it with `ulimit -n 4096`, or use `--local`, which runs the same sweep without Ray."
        )


class RaySession:
    """Starts and ends Ray, while used as a context.

    The folder has mode 0700, the token in it 0600; Ray would let everyone write to its own folder in it. A further
    process deletes the session, also if this one is killed.
    """

    def __init__(self, thread: RayThread) -> None:
        self.thread, self.servers = thread, list[psutil.Process]()

    def __enter__(self) -> "RaySession":
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=_temporary_directory()))
            self.end = _end_with_driver(self.folder)
            stack.callback(self._end_processes)
            token = self.folder / "token"
            with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
            stack.enter_context(_settings({**SETTINGS, "RAY_AUTH_TOKEN_PATH": str(token)}, self.thread))
            stack.callback(self.thread.shut_down)
            self.cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup.close()

    def start(self, **options: Any) -> None:
        """Starts Ray, again if its servers have died.

        Raises:
            ConfigError: Ray does not start, or can be reached from other machines.
        """
        self.thread.call(lambda: self._start(options))

    def _start(self, options: Mapping[str, Any]) -> None:
        import ray

        if ray.is_initialized():
            ray.shutdown()
            session_end.kill(self.folder, os.getpid())
        try:
            ray.init(
                address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
                _temp_dir=str(self.folder / "ray"), **options,
            )  # fmt: skip
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ConfigError(
                f"Ray does not start on this machine: {cause}\n`--local` runs the same sweep without Ray."
            ) from error
        if strangers := {node["NodeManagerAddress"] for node in ray.nodes()} - {*LOOPBACK}:
            raise ConfigError(
                f"Ray {ray.__version__} listens on {', '.join(strangers)} and not only on this machine.\n"
                "`--local` runs the same sweep without any port."
            )
        self.servers = [process for process in psutil.Process().children() if process.name() in SERVERS]

    def has_died(self) -> bool:
        """Whether one of Ray's servers has ended. Ray itself would wait for a minute, and then end this process."""
        return not all(_runs(server) for server in self.servers)

    def _end_processes(self) -> None:
        if self.thread.is_busy:  # it ends with this process
            return
        assert self.end.stdin is not None
        self.end.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.end.wait(END_TIMEOUT)


def _end_with_driver(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the process that deletes a session once its stdin is closed, which happens when this process ends."""
    return subprocess.Popen(
        [sys.executable, "-P", session_end.__file__, str(folder), str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


@contextmanager
def _settings(changes: Mapping[str, str | None], thread: RayThread) -> Iterator[None]:
    """Changes environment variables, which Ray's servers inherit, and what Ray has read of them in this process.

    They stay if a signal has interrupted the start of Ray, which goes on in its thread until this process ends.
    """
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    from ray._private import ray_constants  # reads some of the variables when it is imported

    clusters = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    _read_settings()
    try:
        yield
    finally:
        if not thread.is_busy:
            _set(before)
            ray_constants.ENABLE_RAY_CLUSTER = clusters
            _read_settings()


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _read_settings() -> None:
    ray = import_module("ray._raylet")
    ray.Config.initialize("")
    ray.AuthenticationTokenLoader.instance().reset_cache()


def _temporary_directory() -> str:
    """Returns the directory for temporary files, or /tmp if its path is too long for Ray's sockets."""
    directory = tempfile.gettempdir()
    return directory if len(os.fsencode(directory)) <= LONGEST_PATH else "/tmp"


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
