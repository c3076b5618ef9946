import base64
import json
from pathlib import Path

import pandas as pd

from docs.pages import notebook

PICTURE = b"a picture's bytes"


def test_a_notebook_becomes_a_page_with_its_code_outputs_and_pictures(tmp_path: Path) -> None:
    frame = pd.DataFrame({"accuracy": [0.5]})._repr_html_()
    outputs = [
        {"output_type": "execute_result", "metadata": {}, "execution_count": 1, "data": {"text/html": frame}},
        {"output_type": "stream", "name": "stdout", "text": ["fedvpt 0.5\n"]},
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": base64.b64encode(PICTURE).decode()}},
    ]
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Runs\n"]},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "execution_count": 1,
            "outputs": outputs,
            "source": ["raise SystemExit  # shown, and not run"],
        },
    ]
    metadata = {"language_info": {"name": "python"}}
    path = tmp_path / "example.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    text, pictures = notebook.rendered(path)
    assert text.startswith("# Runs\n")
    assert "```python\nraise SystemExit  # shown, and not run\n```" in text
    assert "    fedvpt 0.5\n" in text
    assert "<style" not in text
    assert "<table>" in text
    ((place, picture),) = pictures.items()
    assert picture == PICTURE
    assert place.startswith("example_files/")
    assert f"]({place})" in text
