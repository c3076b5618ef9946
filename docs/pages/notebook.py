"""An executed notebook as a page: its text, code and outputs as they were saved; nothing is run."""

import re
from pathlib import Path

STYLE = re.compile(r"<style scoped>.*?</style>\n?", re.DOTALL)
FRAME = re.compile(r'<table border="1" class="dataframe">')


def rendered(path: Path) -> tuple[str, dict[str, bytes]]:
    """The notebook's Markdown, and the pictures in it by their places beside the page (`NAME_files/output_1_0.png`).

    Raises `nbformat.reader.NotJSONError` for a file that is no notebook.
    """
    from nbconvert import MarkdownExporter

    own = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    text, resources = MarkdownExporter().from_filename(str(path), resources=own)
    text = FRAME.sub("<table>", STYLE.sub("", text))  # pandas' own look gives way to the site's
    return text, dict(resources["outputs"])
