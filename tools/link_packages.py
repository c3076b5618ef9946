"""Create `fedprompt/`, a folder of four links to the packages, for tools that read files and not import hooks.

`pip install -e .` maps `fedprompt.methods` to the folder `methods` (setup.cfg) by an import hook. Editors, mypy and
import-linter do not run import hooks. The folder is git-ignored. Run `python tools/link_packages.py` again at any time.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("benchmark", "data", "methods", "results")


def link(root: Path) -> Path:
    """Create the links under `root` and return their folder.

    Raises:
        FileExistsError: a file or folder that is not a link has the name of a link.
        OSError: the system refuses to create links.
    """
    folder = root / "fedprompt"
    folder.mkdir(exist_ok=True)
    for name in PACKAGES:
        place, target = folder / name, Path("..") / name
        if place.is_symlink():
            if place.readlink() == target:
                continue
            place.unlink()
        place.symlink_to(target, target_is_directory=True)
    return folder


def main() -> int:
    """Create the links; return 1 with a message if the system refuses."""
    try:
        print(link(ROOT))
    except OSError as error:
        print(f"cannot create the links in {ROOT / 'fedprompt'}: {error}", file=sys.stderr)
        if sys.platform == "win32":
            print(
                "Windows creates links only in developer mode (Settings > System > For developers) or in a terminal "
                "run as administrator.",
                file=sys.stderr,
            )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
