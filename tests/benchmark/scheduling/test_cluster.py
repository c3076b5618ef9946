import signal
import socket
import sys
import time

import pytest
import ray

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.scheduling import cluster, scheduler
from fedprompt.benchmark.scheduling.launch import Launch
from fedprompt.benchmark.scheduling.options import SweepOptions
from tests.benchmark.conftest import configs


@pytest.fixture
def free_port():
    """A port of this machine on which nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_an_address_without_a_cluster_is_refused_in_one_line_before_anything_is_prepared(
    form, free_port, tmp_path, monkeypatch
):
    prepared, address = [], form.format(free_port)
    monkeypatch.setattr(scheduler, "preflight", prepared.append)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=f"--address {address}: no Ray cluster answers; `ray start --head`") as raised:
        Launch(configs(), Store(tmp_path / "runs")).run(SweepOptions(address=address))
    assert time.monotonic() - started < cluster.TIMEOUT + 2
    assert "\n" not in str(raised.value)
    assert prepared == []
    assert not (tmp_path / "runs").exists()


def test_an_address_that_accepts_connections_is_left_to_ray(monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray is not needed to check an address"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        cluster.check_address(f"127.0.0.1:{server.getsockname()[1]}")


def test_auto_without_a_cluster_is_refused_and_keeps_the_handler_of_sigterm(monkeypatch):
    def init(**given):
        assert given["address"] == "auto"
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        raise ConnectionError("Could not find any running Ray instance.")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match="--address auto: no Ray cluster answers"):
        cluster.check_address("auto")
    assert signal.getsignal(signal.SIGTERM) is before


def test_auto_within_a_job_of_ray_is_the_address_of_its_cluster(monkeypatch, free_port):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port}")
    with pytest.raises(ConfigError, match="--address auto: no Ray cluster answers"):
        cluster.check_address("auto")
