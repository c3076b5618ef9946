"""Files of the repository that are pages of the site, too, and links that hold in both."""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```.*?^```)$", re.DOTALL | re.MULTILINE)
SHOWN = ("md", "png", "html")
OUTSIDE = re.compile(r"[a-z]+:|#")


def files(root: Path) -> dict[str, str]:
    """Files outside `docs` that the site shows, to their places in the site's sources.

    The README, the measured tables with their pictures and reports, and the model card of the embedded backbone.
    """
    found = {"README.md": "readme.md"}  # as README.md it would be the site's first page
    for path in sorted(path for kind in SHOWN for path in root.glob(f"results/published/**/*.{kind}")):
        name = path.relative_to(root).as_posix()
        found[name] = name.removeprefix("results/")
    for path in sorted(root.glob("benchmark/backbone/pretrained/*.md")):
        found[path.relative_to(root).as_posix()] = f"backbones/{path.name}"
    return found


def measured(places: Mapping[str, str]) -> list[str | dict[str, str]]:
    """Navigation over the measured tables: their README, and of each folder its README, or else its table."""
    start = "published/README.md"
    folders: dict[str, str] = {}
    for place in places.values():
        folder, name = PurePosixPath(place).parent, PurePosixPath(place).name
        if folder.parent.name == "published" and name in ("README.md", "table.md"):
            folders[folder.name] = min(place, folders.get(folder.name, place))  # in this order
    return [start, *({folder: place} for folder, place in sorted(folders.items()))] if start in places.values() else []


def relinked(text: str, source: str, places: Mapping[str, str], root: Path) -> str:
    """The Markdown of a repository's file with its links leading to pages of the site.

    `places` are the files that are on the site (see `files`); those of `docs` lie where they lie there. A link to a
    folder leads to its README; one to what is there, but on no page, is left as its words alone. A broken one stays, so
    that the build tells of it.
    """
    here = PurePosixPath(_place(source, places) or source).parent

    def lead(match: re.Match[str]) -> str:
        """One link, as it is to stand on the page."""
        picture, words, target = match.groups()
        if OUTSIDE.match(target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        file = os.path.normpath(PurePosixPath(source).parent / path)
        place = _place(f"{file}/README.md" if (root / file).is_dir() else file, places)
        if place is None:
            return words if (root / file).exists() else match[0]
        return f"{picture}[{words}]({os.path.relpath(place, here)}{hash_}{anchor})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(lead, part) for part in parts)


def _place(file: str, places: Mapping[str, str]) -> str | None:
    """Where a file of the repository lies in the site's sources; None where it does not."""
    if file.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", file.removeprefix("docs/"))
    return places.get(file)
