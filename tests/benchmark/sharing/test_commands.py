"""The commands of a submission make the same runs again."""

import shlex

import pytest

from fedprompt.benchmark.config.lists import LISTS, parse_list
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.sharing.commands import sweep_commands
from tests.benchmark.conftest import configs

KEYS = {"--method": "methods", "--dataset": "datasets", "--seed": "seeds"}


def runs_of(command):
    """The ids of the runs of a `bench sweep` line."""
    words, given = shlex.split(command), {}
    assert words[:2] == ["bench", "sweep"]
    for flag, value in zip(words[2::2], words[3::2], strict=True):
        name = KEYS.get(flag, flag.removeprefix("--").replace("-", "_"))
        given.setdefault(name, []).append(value)
    values = {name: parse_list(name, value) if name in LISTS else value[0] for name, value in given.items()}
    return [run.run_id for run in options(values).grid()]


@pytest.mark.parametrize(
    ("runs", "lines"),
    [
        (configs(methods=("head", "fedvpt"), alpha=(0.05, 0.5), seeds=(0, 1)), 1),
        (configs(methods=("head", "fedvpt")) + configs(methods=("head",), seeds=(1,)), 2),
        (configs(alpha=(0.05,), seeds=(0,)) + configs(alpha=(0.5,), seeds=(1,)), 2),
        (configs(methods=("fedvpt",), set=("fedvpt.tokens=3",)) + configs(methods=("fedvpt",)), 2),
        (configs(methods=("fedvpt",), set=("fedvpt.tokens=3",)) + configs(methods=("head",)), 1),
        (configs(methods=("pep-fedpt:hard+fedprox",), partition="iid", lr=0.5, clip_norm=1.0), 1),
        (configs(lr=0.5) + configs(partition="pathological", classes_per_client=2), 2),
        (configs(eval_every=None, eval_at=(0, 1), optimizer="adam"), 1),
    ],
)  # fmt: skip
def test_the_lines_define_exactly_these_runs(runs, lines):
    commands = sweep_commands([run.model_dump(mode="json") for run in runs])
    assert len(commands) == lines
    made = [run_id for line in commands for run_id in runs_of(line)]
    assert sorted(made) == sorted({run.run_id for run in runs})


def test_defaults_are_not_named_and_values_of_unknown_methods_are():
    (line,) = sweep_commands(
        [run.model_dump(mode="json") for run in configs(rounds=24, eval_every=None, participation=0.25)]
    )
    assert "--rounds" not in line
    assert "--set" not in line
    config = configs()[0].model_dump(mode="json") | {
        "method": "own",
        "settings": {"own": {"x": 2}},
        "plugins": ["a b.py"],
    }
    (line,) = sweep_commands([config])
    assert line.endswith("--plugin 'a b.py' --set own.x=2")
