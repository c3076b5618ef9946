"""The example notebook runs anew and says what it said: what it shows cannot go stale."""

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
    """The notebook executed in its own folder, as `jupyter execute` does; an error in a cell is raised here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
        patch.setenv("PYTHONWARNINGS", "default")
        resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
        return NotebookClient(nbformat.from_dict(stored), resources=resources, timeout=300).execute()


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """What a cell printed and the text of what it returned, with the kinds of what else it showed."""
    found = [("stdout", "".join(out.text for out in cell.outputs if out.get("name") == "stdout"))]
    return found + [
        (sorted(set(out.data) - {"text/plain"}), out.data["text/plain"]) for out in cell.outputs if "data" in out
    ]


def test_the_notebook_says_today_what_it_has_stored(stored, executed):
    for old, new in zip(code(stored), code(executed), strict=True):
        assert texts(old) == texts(new), AGAIN


def test_no_cell_warns_or_fails(stored, executed):
    for notebook in (stored, executed):
        outputs = [out for cell in code(notebook) for out in cell.outputs]
        assert [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"] == []


def test_every_cell_says_something_and_every_code_cell_was_executed_in_order(stored):
    assert all(cell.source.strip() for cell in stored.cells)
    assert [cell.execution_count for cell in code(stored)] == list(range(1, 1 + len(code(stored)))), AGAIN
    assert all(cell.outputs for cell in code(stored))


def test_it_shows_figures_and_names_no_path_of_a_machine_and_stays_small(stored):
    assert sum("image/png" in out.get("data", {}) for cell in code(stored) for out in cell.outputs) >= 2
    words = [cell.source for cell in stored.cells] + [text for cell in code(stored) for _, text in texts(cell)]
    assert not any(re.search(r"(?<![\w.:/])/(home|tmp|work|root|usr|Users)/|[A-Z]:\\", text) for text in words)
    assert NOTEBOOK.stat().st_size < 400_000
