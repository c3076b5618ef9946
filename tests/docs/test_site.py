"""The documentation site builds without a warning, holds a page for everything, and needs nothing from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fedprompt.benchmark.cli import COMMANDS
from fedprompt.methods import registry
from tests.docs.markdown import ROOT

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Any warning, of a broken link or anchor too, ends the build and the tests that look at it."""
    place = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-W", "error", "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    own = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "NO_MKDOCS_2_WARNING": "1"}
    before = files_of_the_repository()
    done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert files_of_the_repository() == before
    return place


def files_of_the_repository() -> set[Path]:
    """What lies at the top of the repository and among the site's sources."""
    return {*ROOT.iterdir(), *ROOT.glob("docs/**/*")}


class Elsewhere(HTMLParser):
    """Collects the addresses that a page makes a browser fetch from other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(FETCHED.get(tag, "")) or ""
        if given.get("rel") != "canonical" and re.match(r"(https?:)?//", address):
            self.found.append(address)


def elsewhere(html: str) -> list[str]:
    """The addresses of other hosts that a page's scripts, styles, fonts and pictures are fetched from."""
    parser = Elsewhere()
    parser.feed(html)
    styles = " ".join(re.findall(r"<style.*?</style>", html, re.DOTALL))
    return parser.found + re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", styles)


def test_there_is_a_page_for_every_command_and_every_method(site: Path) -> None:
    assert {path.stem for path in (site / "commands").glob("*.html")} == {"index", *COMMANDS}
    registry.discover()
    plugins = {f"plug-in-{name}" for name in registry.OPTIMISERS}
    assert {path.stem for path in (site / "methods").glob("*.html")} >= {"index", *plugins, "fedvpt", "pep-fedpt"}
    assert "--clip-norm" in (site / "commands" / "sweep.html").read_text(encoding="utf-8")


def test_links_of_the_repository_lead_to_pages(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="readme.html"' in start
    assert 'href="published/index.html"' in start
    assert 'href="cluster.html"' in (site / "readme.html").read_text(encoding="utf-8")


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = {path: elsewhere(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 50
    assert {path: found for path, found in pages.items() if found} == {}
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path


def test_what_is_fetched_from_elsewhere_would_be_found() -> None:
    assert (
        elsewhere('<a href="https://a.org">a</a><script src="x.js"></script><link rel=canonical href=https://b.org>')
        == []
    )
    page = '<script src="https://c.org/x.js"></script><link rel=preconnect href=//d.org><style>@import "https://e.org/f.css"</style>'
    assert elsewhere(page) == ["https://c.org/x.js", "//d.org", "https://e.org/f.css"]


def test_what_builds_the_site_is_not_on_it(site: Path) -> None:
    assert list(site.rglob("hooks*")) == []


@pytest.fixture(scope="module", params=[1280, 390], ids=["desktop", "phone"])
def opened(request: pytest.FixtureRequest) -> Iterator[object]:
    """A page of a real browser, which tells of whatever it complains of."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": request.param, "height": 844})
        browser.close()


@pytest.mark.parametrize(
    "name", ["index", "tutorial", "protocol", "methods/index", "methods/pep-fedpt", "commands/sweep"]
)
def test_a_browser_opens_a_page_from_the_folder_without_the_network_or_a_sideways_scroll(
    site: Path, opened, name: str
) -> None:
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda asked: None if asked.url.startswith("file:") else complaints.append(asked.url))
    opened.goto((site / f"{name}.html").as_uri())
    assert opened.locator("h1").first.is_visible()
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert complaints == []
