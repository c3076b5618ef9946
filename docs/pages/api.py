"""The folder in which the generator of the API reference finds the packages."""

import atexit
import shutil
import tempfile
from pathlib import Path

PACKAGES = ("benchmark", "results")
OPTIONS = {
    "docstring_style": "google",
    "docstring_section_style": "list",
    "heading_level": 3,
    "members_order": "source",
    "separate_signature": True,
    "show_root_heading": True,
    "show_root_full_path": False,
    "show_signature_annotations": True,
    "show_source": False,
}


def linked(root: Path) -> Path:
    """A folder of links `fedprompt/NAME` to the packages, as no import hook is run; deleted when the process ends.

    Args:
        root: The repository.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-docs-"))
    atexit.register(shutil.rmtree, folder)
    (place := folder / "fedprompt").mkdir()
    for name in PACKAGES:
        (place / name).symlink_to(root / name, target_is_directory=True)
    return folder
