"""The `bench` command in this process, temporary plug-ins, and the configurations of small runs."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest

from fedprompt.benchmark.cli import main
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.runs.store import Store
from fedprompt.methods import registry
from tests import toy

SMALL = ("--rounds", "1", "--participation", "0.1", "--eval-every", "1", "--precision", "fp32")
"""A run of a fraction of a second on the embedded backbone: 2 of 16 seen clients train, 4 are held out."""


@dataclass(frozen=True)
class Answer:
    """Exit code, stdout and stderr of a command."""

    code: int
    out: str
    err: str


class Bench:
    """Runs `bench WORDS...` in this process."""

    def __init__(self, capsys):
        self.capsys = capsys

    def __call__(self, *words):
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main([str(word) for word in words])
        output = self.capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return Answer(exited.value.code, output.out, output.err)

    def ok(self, *words):
        """Asserts that the command succeeds."""
        answer = self(*words)
        assert answer.code == 0, answer.err
        return answer


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Runs `bench` in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return Bench(capsys)


@pytest.fixture
def store(tmp_path):
    """An empty directory of runs."""
    store = Store(tmp_path / "runs")
    store.prepare()
    return store


def refused(answer, *words):
    """Asserts that a command ended with exit code 2 and one or two lines on stderr that contain `words`."""
    assert answer.code == 2
    assert answer.out == ""
    lines = [line for line in answer.err.splitlines() if " already done, in " not in line]
    assert lines[0].startswith("error: ")
    assert 1 <= len(lines) <= 2
    assert "Traceback" not in answer.err
    for word in words:
        assert word in answer.err


PLUGIN = """
from fedprompt.methods.base import Method
from fedprompt.methods.head import Head
from fedprompt.methods.registry import register

@register({name!r}, paper="none", year=2025, family="head")
class Own(Head):
    "A method of a plug-in."
    {body}
"""


@pytest.fixture
def plugin(tmp_path):
    """Writes a file that registers a method. What the test registers is removed after it."""
    registry.discover()
    known, optimisers, modules = dict(registry.METHODS), dict(registry.OPTIMISERS), set(sys.modules)

    def write(name="own", body="pass", text=None):
        path = tmp_path / f"{name}_plugin.py"
        path.write_text(PLUGIN.format(name=name, body=body) if text is None else text)
        return path

    yield write
    for table, before in ((registry.METHODS, known), (registry.OPTIMISERS, optimisers)):
        table.clear()
        table.update(before)
    for added in set(sys.modules) - modules:
        if added.startswith("bench_plugin_"):
            del sys.modules[added]


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """The toy data as `npz:PATH`: a run on it takes a tenth of the time of one on digits."""
    path, data = tmp_path_factory.mktemp("data") / "toy.npz", toy.dataset()
    np.savez(path, **{part: getattr(data, part) for part in ("train_x", "train_y", "test_x", "test_y")})
    return f"npz:{path}"


def configs(**given):
    """The runs of a small grid on the embedded backbone; keywords are options."""
    small = {"methods": ("head",), "seeds": (0,), "rounds": 1, "participation": 0.1, "eval_every": 1}
    return options(small | {"precision": "fp32"} | given).grid()  # "auto" would have to be resolved first


def config(**given):
    """The one run of a small grid."""
    (only,) = configs(**given)
    return only
