"""Repository files outside `docs` that the site shows, and links that work on GitHub and on the site."""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```.*?^```)$", re.DOTALL | re.MULTILINE)
PUBLISHED_SUFFIXES = ("md", "png", "html")
EXTERNAL = re.compile(r"[a-z]+:|#")
PAGES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files at the top of the repository, with their paths on the site. As README.md the first would be the start page."""


def files(root: Path) -> dict[str, str]:
    """Map files outside `docs` that the site shows to their paths in the site's sources.

    These are the README and other texts at the top, the measured tables with their images and reports, and the model
    card of the embedded backbone.
    """
    found = {name: place for name, place in PAGES.items() if (root / name).exists()}
    for path in sorted(path for suffix in PUBLISHED_SUFFIXES for path in root.glob(f"results/published/**/*.{suffix}")):
        name = path.relative_to(root).as_posix()
        found[name] = name.removeprefix("results/")
    for path in sorted(root.glob("benchmark/backbone/pretrained/*.md")):
        found[path.relative_to(root).as_posix()] = f"backbones/{path.name}"
    return found


def measured(places: Mapping[str, str]) -> list[str | dict[str, str]]:
    """Navigation entries of the measured tables: the overview, then per folder its README (or its table)."""
    start = "published/README.md"
    folders: dict[str, str] = {}
    for place in places.values():
        folder, name = PurePosixPath(place).parent, PurePosixPath(place).name
        if folder.parent.name == "published" and name in ("README.md", "table.md"):
            folders[folder.name] = min(place, folders.get(folder.name, place))  # README.md sorts before table.md
    return [start, *({folder: place} for folder, place in sorted(folders.items()))] if start in places.values() else []


def relink(text: str, source: str, places: Mapping[str, str], root: Path) -> str:
    """Rewrite the links of a repository file to the pages of the site.

    A link to a folder goes to its README. A link to an existing file that is not on the site becomes plain text. A
    broken link stays, so that the build reports it.

    Args:
        text: Markdown of the file.
        source: path of the file in the repository.
        places: result of `files`; files in `docs` need no entry.
        root: the repository.
    """
    folder = PurePosixPath(_place(source, places) or source).parent

    def replace(match: re.Match[str]) -> str:
        """The link to the page of the site, its words alone, or the link as it is."""
        image, words, target = match.groups()
        if EXTERNAL.match(target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        file = os.path.normpath(PurePosixPath(source).parent / path)
        place = _place(f"{file}/README.md" if (root / file).is_dir() else file, places)
        if place is None:
            return words if (root / file).exists() else match[0]
        return f"{image}[{words}]({os.path.relpath(place, folder)}{hash_}{anchor})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(replace, part) for part in parts)


def _place(file: str, places: Mapping[str, str]) -> str | None:
    """The path of a repository file in the site's sources; None if the site does not show it."""
    if file.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", file.removeprefix("docs/"))
    return places.get(file)
