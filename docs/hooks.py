"""MkDocs hooks: add the pages that are generated from the code and those that lie elsewhere in the repository."""

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `mkdocs`, unlike `python -m mkdocs`, does not search the current folder

from docs.pages import api, commands, leaderboards, methods, notebook, repository  # noqa: E402

PACKAGES = api.linked(ROOT)


@event_priority(100)  # before mkdocstrings reads its configuration
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation of mkdocs.yml, and tell mkdocstrings where the packages are."""
    config.plugins["mkdocstrings"].config["handlers"] = {"python": {"paths": [str(PACKAGES)], "options": api.OPTIONS}}
    families: list[object] = []
    for family, pages in methods.pages():
        links = [{page.title: page.path} for page in pages]
        families += [{family.capitalize(): links}] if family else links
    notebooks = [{path.stem.capitalize(): f"{path.stem}.md"} for path in _notebooks(config)]
    guide, *others = config.nav or [{"Guide": []}]
    config.nav = [
        {"Guide": [*guide["Guide"], *notebooks]},
        *others,
        {"Measured": [{"Leaderboards": leaderboards.PLACE}, *repository.measured(repository.files(ROOT))]},
        {"Methods": families},
        {"Commands": [{page.title: page.path} for page in commands.pages()]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files in `docs`."""
    for page in [leaderboards.page(ROOT), *commands.pages(), *(page for _, pages in methods.pages() for page in pages)]:
        files.append(File.generated(config, page.path, content=page.text))
    for name, place in repository.files(ROOT).items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    for path in _notebooks(config):
        text, images = notebook.render(path)
        files.append(File.generated(config, f"{path.stem}.md", content=text))
        for place, image in images.items():
            files.append(File.generated(config, place, content=image))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of repository files to pages of the site."""
    places = repository.files(ROOT)
    sources = {place: name for name, place in places.items()}
    source = sources.get(page.file.src_uri) or (None if page.file.generated_by else f"docs/{page.file.src_uri}")
    return repository.relink(markdown, source, places, ROOT) if source else markdown


def _notebooks(config: MkDocsConfig) -> list[Path]:
    return sorted(Path(config.docs_dir).glob("*.ipynb"))
