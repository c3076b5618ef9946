"""The keyword arguments are the options of the command line: the same names, types and values."""

import subprocess
import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import fedprompt.benchmark
from fedprompt.benchmark.api.options import SCHEDULING, Keep, RunOptions, SweepKeywords, given
from fedprompt.benchmark.cli import sweep_options
from fedprompt.benchmark.config.lists import LISTS
from fedprompt.benchmark.config.options import Options, options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.results.records.models import KEPT

PATHS = ("data_root", "checkpoint", "partition_file")
NAMED = ("methods", "datasets", "alpha", "seeds")
"""The arguments of `run` and `sweep` themselves."""


def kinds(annotation):
    """The types of an annotation, without limits."""
    if get_origin(annotation) is Annotated:
        return kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return frozenset(kind for part in get_args(annotation) for kind in kinds(part))
    return frozenset([annotation])


def test_every_option_of_a_run_is_a_keyword_of_its_type_and_there_is_no_other():
    hints = get_type_hints(RunOptions)
    assert set(hints) == set(Options.model_fields) - {*NAMED, "per_method"}
    for name, hint in hints.items():
        if name not in LISTS:
            expected = kinds(Options.__annotations__.get(name) or Options.model_fields[name].annotation)
            assert kinds(hint) - {Path} == expected, name
            assert (Path in kinds(hint)) == (name in PATHS)


def test_every_scheduling_option_of_the_command_is_a_keyword_of_a_sweep():
    hints = get_type_hints(SweepKeywords)
    assert set(SCHEDULING) == set(sweep_options.OPTIONS)
    for name, (annotation, default) in sweep_options.OPTIONS.items():
        wider = {float} if name == "gpus_per_run" else set()
        hint = {str if get_origin(kind) is Literal else kind for kind in kinds(hints[name])}
        assert hint - wider == set(kinds(annotation)), name
        assert default is not None or NoneType in hint
    assert get_args(Keep) == KEPT


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("methods", "head, fedvpt", ["head", "fedvpt"]),
        ("methods", ("head",), ["head"]),
        ("alpha", 0.05, [0.05]),
        ("alpha", np.array([0.05, 0.5]), [0.05, 0.5]),
        ("alpha", "0.05,0.5", [0.05, 0.5]),
        ("seeds", range(3), [0, 1, 2]),
        ("seeds", "0-2", [0, 1, 2]),
        ("seeds", np.int64(4), [4]),
        ("eval_at", [2, 4], [2, 4]),
        ("set", "fedvpt.tokens=5", ["fedvpt.tokens=5"]),
        ("plugin", Path("a.py"), ["a.py"]),
        ("plugin", [Path("a.py"), "b.py"], ["a.py", "b.py"]),
        ("data_root", Path("data"), "data"),
        ("rounds", np.int64(3), 3),
        ("lr", np.float32(0.5), 0.5),
    ],
    ids=str,
)
def test_values_may_be_texts_numbers_paths_or_sequences(name, value, expected):
    found = given({name: value})
    assert found == {name: expected}
    assert not any(isinstance(item, np.generic) for item in (found[name] if name in LISTS else [found[name]]))
    options(found)


def test_none_leaves_an_option_to_the_preset():
    assert given({"rounds": None, "alpha": None}) == {}
    assert options(given({"rounds": None}), "quick").rounds == options({}, "quick").rounds != Options().rounds


@pytest.mark.parametrize("value", [[], (), "", range(0)], ids=repr)
def test_an_empty_list_is_refused(value):
    with pytest.raises(ConfigError, match="--alpha is empty: name at least one value"):
        given({"alpha": value})


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, fedprompt.benchmark as b; print(sorted({'torch', 'pandas', 'pydantic', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        _ = fedprompt.benchmark.missing
    assert all(callable(getattr(fedprompt.benchmark, name)) for name in fedprompt.benchmark.__all__)
