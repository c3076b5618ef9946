import base64
import json

import pandas as pd

from docs.pages import notebook

IMAGE = b"bytes of an image"


def test_a_notebook_becomes_a_page_with_its_code_outputs_and_images(tmp_path):
    frame = pd.DataFrame({"accuracy": [0.5]})._repr_html_()
    outputs = [
        {"output_type": "execute_result", "metadata": {}, "execution_count": 1, "data": {"text/html": frame}},
        {"output_type": "stream", "name": "stdout", "text": ["fedvpt 0.5\n"]},
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": base64.b64encode(IMAGE).decode()}},
    ]
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Runs\n"]},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "execution_count": 1,
            "outputs": outputs,
            "source": ["raise SystemExit  # shown, not executed"],
        },
    ]
    metadata = {"language_info": {"name": "python"}}
    path = tmp_path / "example.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    text, images = notebook.render(path)
    assert text.startswith("# Runs\n")
    assert "```python\nraise SystemExit  # shown, not executed\n```" in text
    assert "    fedvpt 0.5\n" in text
    assert "<style" not in text
    assert "<table>" in text
    ((place, image),) = images.items()
    assert image == IMAGE
    assert place.startswith("example_files/")
    assert f"]({place})" in text
