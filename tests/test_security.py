"""No source runs code that it reads, and hostile files are refused with a message."""

import ast
from pathlib import Path

import pytest

from tests import fuzz

ROOT = Path(__file__).parent.parent
SOURCES = [path for name in ("benchmark", "data", "methods", "results") for path in sorted((ROOT / name).rglob("*.py"))]
RUNS_CODE = {"eval", "exec", "compile", "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def unsafe(tree):
    """Calls and imports that can run code from the data they read."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in RUNS_CODE]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in RUNS_CODE:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            called = ast.unparse(node.func)
            refused = {
                "torch.load": keywords.get("weights_only") is not True,
                "yaml.load": True,
                "yaml.unsafe_load": True,
                "np.load": keywords.get("allow_pickle", False) is not False,
                "pd.read_pickle": True,
            }
            if refused.get(called, called in ("eval", "exec", "compile")):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_run_code_that_it_reads(path):
    assert unsafe(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from dill import loads",
        "eval('1')",
        "yaml.load(x)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
    ],
)
def test_an_unsafe_call_or_import_is_found(text):
    assert len(unsafe(ast.parse(text))) == 1


@pytest.mark.parametrize("check", fuzz.PROPERTIES, ids=lambda check: str(check.__name__))
def test_a_hostile_file_is_read_or_refused_with_a_message(check):
    fuzz.run(check, examples=15)
