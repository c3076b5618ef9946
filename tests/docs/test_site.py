"""The documentation site builds without warnings, has all pages, and loads nothing from other hosts."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from fedprompt.benchmark.cli import COMMANDS
from fedprompt.methods import registry
from tests.docs.markdown import ROOT

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. Any warning, such as one of a broken link or anchor, fails the build."""
    place = tmp_path_factory.mktemp("built") / "site"
    mkdocs = "import sys; sys.path.pop(0); from mkdocs.__main__ import cli; cli()"  # as the script `mkdocs` starts
    command = [sys.executable, "-W", "error", "-c", mkdocs, "build", "--strict", "--site-dir", str(place)]
    variables = {"PYTHONDONTWRITEBYTECODE": "1", "NO_MKDOCS_2_WARNING": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    before = files_of_the_repository()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert files_of_the_repository() == before
    return place


def files_of_the_repository():
    """Files at the top of the repository and in the site's sources."""
    return {*ROOT.iterdir(), *ROOT.glob("docs/**/*")}


class ExternalAddresses(HTMLParser):
    """Collects the addresses on other hosts that a page makes a browser load."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        address = given.get(FETCHED.get(tag, "")) or ""
        if given.get("rel") != "canonical" and re.match(r"(https?:)?//", address):
            self.found.append(address)


def external(html):
    """Addresses on other hosts of a page's scripts, styles, fonts and images."""
    parser = ExternalAddresses()
    parser.feed(html)
    styles = " ".join(re.findall(r"<style.*?</style>", html, re.DOTALL))
    return parser.found + re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", styles)


def test_there_is_a_page_for_every_command_and_every_method(site):
    assert {path.stem for path in (site / "commands").glob("*.html")} == {"index", *COMMANDS}
    registry.discover()
    plugins = {f"{cls.family}-{name}" for name, cls in registry.OPTIMISERS.items()}
    assert {path.stem for path in (site / "methods").glob("*.html")} >= {"index", *plugins, "fedvpt", "pep-fedpt"}
    assert "--clip-norm" in (site / "commands" / "sweep.html").read_text(encoding="utf-8")


def test_links_to_repository_files_become_links_to_pages(site):
    start = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="readme.html"' in start
    assert 'href="published/index.html"' in start
    assert 'href="cluster.html"' in (site / "readme.html").read_text(encoding="utf-8")


def test_no_page_loads_anything_from_another_host(site):
    pages = {path: external(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 50
    assert {path: found for path, found in pages.items() if found} == {}
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path


def test_an_address_on_another_host_is_found():
    assert (
        external('<a href="https://a.org">a</a><script src="x.js"></script><link rel=canonical href=https://b.org>')
        == []
    )
    page = '<script src="https://c.org/x.js"></script><link rel=preconnect href=//d.org><style>@import "https://e.org/f.css"</style>'
    assert external(page) == ["https://c.org/x.js", "//d.org", "https://e.org/f.css"]


def test_the_site_does_not_contain_its_generators(site):
    assert [*site.rglob("hooks*"), *site.rglob("*.py"), *site.rglob("*.pyc")] == []


@pytest.fixture(
    scope="module", params=[pytest.param(1280, marks=pytest.mark.slow, id="desktop"), pytest.param(390, id="phone")]
)
def opened(request):
    """A page of a real browser."""
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
def test_a_browser_shows_a_page_from_the_folder_without_network_or_horizontal_scrolling(site, opened, name):
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda asked: None if asked.url.startswith("file:") else complaints.append(asked.url))
    opened.goto((site / f"{name}.html").as_uri())
    assert opened.locator("h1").first.is_visible()
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert complaints == []
