"""What MkDocs calls while it builds the site: adds the pages that are made from the code, and the repository's own."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.pages import commands, methods, notebook, repository


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Completes the navigation of mkdocs.yml."""
    measured = repository.measured(repository.files(_root(config)))
    families: list[object] = []
    for family, pages in methods.pages():
        links = [{page.title: page.path} for page in pages]
        families += [{family.capitalize(): links}] if family else links
    listed = [{page.title: page.path} for page in commands.pages()]
    notebooks = [{path.stem.capitalize(): f"{path.stem}.md"} for path in _notebooks(config)]
    first, *others = config.nav or [{"Guide": []}]
    config.nav = [
        {"Guide": [*first["Guide"], *notebooks]},
        *others,
        {"Measured": measured},
        {"Methods": families},
        {"Commands": listed},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie in no folder of the site's sources."""
    root = _root(config)
    for page in [*commands.pages(), *(page for _, pages in methods.pages() for page in pages)]:
        files.append(File.generated(config, page.path, content=page.text))
    for name, place in repository.files(root).items():
        files.append(File.generated(config, place, abs_src_path=str(root / name)))
    for path in _notebooks(config):
        text, pictures = notebook.rendered(path)
        files.append(File.generated(config, f"{path.stem}.md", content=text))
        for place, picture in pictures.items():
            files.append(File.generated(config, place, content=picture))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads the links of the repository's own files to their pages."""
    root = _root(config)
    places = repository.files(root)
    sources = {place: name for name, place in places.items()}
    source = sources.get(page.file.src_uri) or (None if page.file.generated_by else f"docs/{page.file.src_uri}")
    return repository.relinked(markdown, source, places, root) if source else markdown


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent


def _notebooks(config: MkDocsConfig) -> list[Path]:
    return sorted(Path(config.docs_dir).glob("*.ipynb"))
