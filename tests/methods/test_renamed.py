"""Plug-ins written for version 0.1 are refused with the new names."""

import json
import subprocess
import sys

import pytest

from fedprompt.methods import MethodError
from fedprompt.methods.registry import load_plugin

CONTRACT = "'{}', which is now 'fedprompt.methods': write `from fedprompt.methods import Method, register`."
COMPONENTS, OPTIMISERS = "fedprompt.methods.components", "fedprompt.methods.optimisers"


REFUSED = {
    "from methods.base import Method, setting": CONTRACT.format("methods.base"),
    "from methods.registry import register": CONTRACT.format("methods.registry"),
    "from methods import Method": CONTRACT.format("methods"),
    "import methods.optimiser": CONTRACT.format("methods.optimiser"),
    "from methods.fedvpt import FedVPT": "'methods.fedvpt', which is now 'fedprompt.methods.fedvpt'.",
    "from methods.prompts import classify": f"'methods.prompts', which is now '{COMPONENTS}.prompts'.",
    "from methods.ccmp import posterior": f"'methods.ccmp', which is now '{COMPONENTS}.prompt_mixing'.",
    "import methods.scaffold": f"'methods.scaffold', which is now '{OPTIMISERS}.scaffold'.",
    "import fedprompt.methods.lora": f"'fedprompt.methods.lora', which is now '{COMPONENTS}.lora'.",
    "from data.federation import Client": "'data.federation', but the package 'data' is now 'fedprompt.data'.",
    "import results.load": "'results.load', but the package 'results' is now 'fedprompt.results'.",
    "import benchmark.config": "'benchmark.config', but the package 'benchmark' is now 'fedprompt.benchmark'.",
    "from fedprompt.methods import setting": "'setting', which is now 'hyperparameter'.",
    "from fedprompt.methods.base import setting": "'setting', which is now 'hyperparameter'.",
    "from fedprompt.methods.optimiser import Visit": "'Visit', which is now 'ClientContext'.",
}
"""Text of a plug-in -> end of the message that refuses it."""
LOAD_ALL = """
import json, sys
from fedprompt.methods import MethodError
from fedprompt.methods.registry import load_plugin
for file in sys.argv[1:]:
    try:
        load_plugin(file)
    except MethodError as error:
        print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module", params=["alone", "shadowed"])
def messages(request, tmp_path_factory):
    """Messages for all texts in `REFUSED`, in a folder without or with the user's own packages of the old names."""
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("methods", "data", "results", "benchmark") if request.param == "shadowed" else ():
        (folder / name).mkdir()
        (folder / name / "__init__.py").touch()
    files = [f"old{number}.py" for number in range(len(REFUSED))]
    for file, text in zip(files, REFUSED, strict=True):
        (folder / file).write_text(text)
    run = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, *files], cwd=folder, capture_output=True, text=True, check=True
    )
    return dict(zip(REFUSED, map(json.loads, run.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("text", REFUSED)
def test_an_old_import_is_refused_with_the_new_one(messages, text):
    assert messages[text].startswith("--plugin old")
    assert messages[text].endswith(f".py imports {REFUSED[text]}")


def refusal(path, text):
    """The message with which a plug-in of this text is refused."""
    path.write_text(text)
    with pytest.raises(MethodError) as caught:
        load_plugin(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "from fedprompt.methods import missing",
        "import fedprompt.methods.missing",
        "import fedprompt.methods.components.missing",
        "import fedprompt.missing",
        "import missing.methods",
    ],
)
def test_other_import_errors_keep_their_message(tmp_path, text):
    assert "new.py cannot be imported: " in refusal(tmp_path / "new.py", text)


@pytest.mark.parametrize(("old", "new"), [("settle", "after_batch"), ("fold", "apply_statistics")])
def test_a_hook_with_an_old_name_is_refused(tmp_path, old, new):
    text = f"""
from fedprompt.methods import Method, register

@register("mine", paper="none", year=2026, family="test")
class Mine(Method):
    def {old}(self, state):
        return state
"""
    assert refusal(tmp_path / "mine.py", text) == f"Mine.{old} has no effect: it is now called {new!r}."


@pytest.mark.usefixtures("registry_tables")
def test_a_hyperparameter_may_have_the_name_of_an_old_hook(tmp_path):
    text = """
from fedprompt.methods import Method, hyperparameter, register

@register("folds", paper="none", year=2026, family="test")
class Folds(Method):
    fold: int = hyperparameter(3, "number of the fold")
"""
    (tmp_path / "folds.py").write_text(text)
    load_plugin(tmp_path / "folds.py")
