"""Renders an executed notebook as a page from its stored outputs; no cell is executed."""

import re
from pathlib import Path

STYLE = re.compile(r"<style scoped>.*?</style>\n?", re.DOTALL)
FRAME = re.compile(r'<table border="1" class="dataframe">')


def render(path: Path) -> tuple[str, dict[str, bytes]]:
    """Convert a notebook to Markdown.

    Returns:
        The Markdown, and the images in it by their paths relative to the page (`NAME_files/output_1_0.png`).

    Raises:
        nbformat.reader.NotJSONError: the file is not a notebook.
    """
    from nbconvert import MarkdownExporter

    names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    text, resources = MarkdownExporter().from_filename(str(path), resources=names)
    text = FRAME.sub("<table>", STYLE.sub("", text))  # the site styles tables itself
    return text, dict(resources["outputs"])
