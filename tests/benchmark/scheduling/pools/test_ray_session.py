import re
import resource
import shlex
import signal
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.driver_status import active_drivers
from fedprompt.benchmark.scheduling.pools import ray_session, session_end
from tests.benchmark.scheduling.pools import intruder
from tests.chaos.processes import ROOT, descendants, gone, kill, start, until

LONG = ("sweep", "--methods", "head", "--seeds", "0,1", "--rounds", 100000, "--eval-every", 100000, "--workers", 2)
RESUME = "run the same command again to resume"
CONTROL, PROCESS, METRICS = "control", "process", "metrics"
PORTS = {  # as in SECURITY.md: the ports of each process of a sweep
    "bench": [PROCESS], "gcs_server": [CONTROL], "raylet": [CONTROL, CONTROL], "ray::_task": [PROCESS],
    "ray::ProgressActor": [PROCESS], "ray::IDLE": [PROCESS], "DashboardAgent": [CONTROL, CONTROL],
    "RuntimeEnvAgent": [CONTROL], "monitor.py": [METRICS], "dashboard.py": [METRICS],
}  # fmt: skip


def parts(driver):
    """Returns the processes of a sweep with the names that PORTS has."""
    below = descendants(driver)
    named = {pid: next((name for name in PORTS if name in line.split(" --")[0]), line) for pid, line in below.items()}
    return {driver: "bench", **named}


def listening(pid):
    return [c.laddr for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]


def folder(driver):
    """Returns the folder of the session of a driver."""
    return next((Path(line.split()[-2]) for line in descendants(driver).values() if "session_end.py" in line), None)


def computes(process, directory, runs=2):
    """Waits until both runs of a sweep are reported."""
    running = lambda: sum(len(progress["running"]) for progress in active_drivers(directory).values())  # noqa: E731
    until(lambda: running() == runs or process.poll() is not None, 300)
    assert process.poll() is None, process.communicate()


def ended(process, code, below, session, messages=1):
    """Asserts that a sweep ends in order within ten seconds, with all its processes and its folder."""
    out, err = process.communicate(timeout=10)
    assert process.returncode == code, err
    assert out == ""
    assert err.count(RESUME) <= messages
    assert "Traceback" not in err, err
    assert not re.search(r"\.cc:\d|\*\*\* SIG", err), err  # of Ray's C++ code
    gone(below, 10)
    until(lambda: not session.exists(), 10)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep of two runs that do not end."""
    runs = tmp_path_factory.mktemp("ports") / "runs"
    process = start(*LONG, "--checkpoint-every", 0, "--out", runs)
    try:
        computes(process, runs)
        yield process, runs
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.serial
def test_every_port_of_a_sweep_is_documented_and_on_loopback(sweep):
    for pid, name in parts(sweep[0].pid).items():
        addresses = listening(pid)
        assert {address.ip.removeprefix("::ffff:") for address in addresses} <= {"127.0.0.1", "::1"}, name
        assert len(addresses) <= len(PORTS.get(name, [])), f"{name} has undocumented ports: {addresses}"


@pytest.mark.slow
@pytest.mark.serial
def test_no_port_of_a_sweep_obeys_a_stranger_without_its_token(sweep):
    token = folder(sweep[0].pid) / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    refused = 0
    for pid, name in parts(sweep[0].pid).items():
        for port in listening(pid):
            address = f"127.0.0.1:{port.port}"
            if PORTS[name] == [METRICS]:
                answers = intruder.call_http(address)
                assert {code for path, code in answers.items() if path.startswith("POST")} == {405}, (name, answers)
            elif intruder.speaks_http(address):
                assert set(intruder.call_http(address).values()) <= {401, 403, 405}, name
            else:
                codes = set(intruder.call_grpc(address).values())
                assert codes <= {"UNAUTHENTICATED", "UNIMPLEMENTED"}, name
                refused += "UNAUTHENTICATED" in codes
            if name == "gcs_server":  # the same request succeeds with the token
                assert intruder.call_grpc(address, token.read_text()) == {intruder.GREETING: "OK"}
    assert refused >= 6


@pytest.mark.slow
@pytest.mark.serial
def test_runs_continue_after_the_head_of_ray_was_killed_and_a_closed_terminal_ends_all(sweep):
    process, runs = sweep
    below, session = descendants(process.pid), folder(process.pid)
    (head,) = (pid for pid, name in parts(process.pid).items() if name == "gcs_server")
    kill(head)
    until(lambda: head not in descendants(process.pid), 10)
    until(lambda: "gcs_server" in parts(process.pid).values(), 60)
    computes(process, runs)
    below |= descendants(process.pid)
    process.send_signal(signal.SIGHUP)
    ended(process, 129, below, session)


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_ray_starts_ends_everything(number, tmp_path):
    process = start(*LONG, "--out", tmp_path / "runs")
    until(lambda: "gcs_server" in parts(process.pid).values(), 120)
    below, session = descendants(process.pid), folder(process.pid)
    process.send_signal(number)
    process.send_signal(number)  # another one changes nothing
    ended(process, 128 + number, below, session)
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
@pytest.mark.serial
def test_a_killed_driver_leaves_no_process_and_no_folder(tmp_path):
    process = start(*LONG, "--out", tmp_path / "runs")
    until(lambda: "RuntimeEnvAgent" in parts(process.pid).values(), 120)
    below, session = descendants(process.pid), folder(process.pid)
    kill(process.pid)
    process.communicate(timeout=10)
    gone(below, 10)
    until(lambda: not session.exists(), 10)


@pytest.mark.parametrize(
    ("limit", "refused"), [(30, True), (143, True), (144, False), (4096, False), (resource.RLIM_INFINITY, False)]
)
def test_ray_does_not_start_with_too_few_open_files(limit, refused, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    expected = pytest.raises(ConfigError, match=f"144 open files .* is {limit}.\n.*ulimit -n 4096")
    with expected if refused else nullcontext():
        ray_session.check_open_files(2)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [30, 64, 128])
def test_a_sweep_on_ray_with_too_few_open_files_is_refused_in_two_lines(limit, tmp_path):
    command = f"ulimit -n {limit}; exec {shlex.quote(sys.executable)} -m fedprompt.benchmark sweep --methods head"
    words = ["bash", "-c", f"{command} --seeds 0,1 --workers 2 --out {shlex.quote(str(tmp_path))}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    error = f"error: Ray needs 144 open files per process for 2 runs at a time; the limit is {limit}."
    assert done.stderr.splitlines()[-2] == error
    assert not {*tmp_path.iterdir()}


def test_a_ray_that_does_not_start_names_the_way_without_it(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", lambda **_: (_ for _ in ()).throw(RuntimeError("no shared memory\nmore")))
    session = ray_session.RaySession(None)
    session.folder = Path("unused")
    with pytest.raises(ConfigError) as raised:
        session._start({})
    assert str(raised.value).splitlines() == [
        "Ray does not start on this machine: no shared memory",
        "`--local` runs the same sweep without Ray.",
    ]


def test_a_ray_that_listens_beyond_this_machine_is_refused(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeManagerAddress": "192.168.0.2"}])
    session = ray_session.RaySession(None)
    session.folder = Path("unused")
    with pytest.raises(ConfigError, match=r"listens on 192\.168\.0\.2 and not only on this machine"):
        session._start({})


def test_a_long_temporary_directory_is_replaced_by_one_whose_sockets_fit(monkeypatch):
    monkeypatch.setattr(ray_session.tempfile, "gettempdir", lambda: "/var/tmp")
    assert ray_session._temporary_directory() == "/var/tmp"
    monkeypatch.setattr(ray_session.tempfile, "gettempdir", lambda: "/a/temporary/directory")
    assert ray_session._temporary_directory() == "/tmp"


def test_only_processes_that_log_to_a_session_belong_to_it(tmp_path):
    (tmp_path / "ray").mkdir()
    line = f"import time; f = open({str(tmp_path / 'ray' / 'log')!r}, 'w'); print(flush=True); time.sleep(60)"
    import subprocess
    import sys

    with subprocess.Popen([sys.executable, "-c", line], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert session_end.processes(tmp_path / "other") == []
        assert [found.pid for found in session_end.processes(tmp_path)] == [process.pid]
        session_end.kill(tmp_path, driver=process.pid)
        assert process.poll() is None
        session_end.kill(tmp_path, driver=0)
        assert process.wait(10) == -signal.SIGKILL
