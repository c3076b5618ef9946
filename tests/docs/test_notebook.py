"""Executing the example notebook gives its stored outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
AGAIN = "execute it again: jupyter execute --inplace docs/notebook.ipynb"


@pytest.fixture(scope="module")
def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(stored):
    """The notebook executed in its folder, as `jupyter execute` does; raises the error of a failing cell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
        patch.setenv("PYTHONWARNINGS", "default")
        resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
        return NotebookClient(nbformat.from_dict(stored), resources=resources, timeout=300).execute()


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """A cell's printed text, and per output the text and the other MIME types."""
    found = [("stdout", "".join(out.text for out in cell.outputs if out.get("name") == "stdout"))]
    return found + [
        (sorted(set(out.data) - {"text/plain"}), out.data["text/plain"]) for out in cell.outputs if "data" in out
    ]


@pytest.mark.slow
def test_executing_the_notebook_gives_the_stored_outputs(stored, executed):
    for old, new in zip(code(stored), code(executed), strict=True):
        assert texts(old) == texts(new), AGAIN


@pytest.mark.parametrize("notebook", ["stored", pytest.param("executed", marks=pytest.mark.slow)])
def test_no_cell_warns_or_fails(notebook, request):
    outputs = [out for cell in code(request.getfixturevalue(notebook)) for out in cell.outputs]
    assert [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"] == []


def test_no_cell_is_empty_and_code_cells_were_executed_in_order(stored):
    assert all(cell.source.strip() for cell in stored.cells)
    assert [cell.execution_count for cell in code(stored)] == list(range(1, 1 + len(code(stored)))), AGAIN
    assert all(cell.outputs for cell in code(stored))


def test_it_shows_figures_contains_no_local_path_and_stays_small(stored):
    assert sum("image/png" in out.get("data", {}) for cell in code(stored) for out in cell.outputs) >= 2
    words = [cell.source for cell in stored.cells] + [text for cell in code(stored) for _, text in texts(cell)]
    assert not any(re.search(r"(?<![\w.:/])/(home|tmp|work|root|usr|Users)/|[A-Z]:\\", text) for text in words)
    assert NOTEBOOK.stat().st_size < 400_000
