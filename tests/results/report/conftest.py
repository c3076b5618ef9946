"""Reports in a headless browser; these tests are skipped without Chromium."""

import shutil
import time

import pytest

from fedprompt.results.report import write as write_report
from tests.results.conftest import writer

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
VIEWS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}
CLIPBOARD = """
navigator.clipboard.writeText = async (text) => {
  if (window.forbidden) throw new Error("forbidden");
  window.copied = text;
};
"""
NASTY = "<b onmouseover=alert(1)>"


@pytest.fixture(scope="module")  # one Playwright at a time in a process, and other tests start their own
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """Three methods in three settings, the last of which has only failed runs; one method failed in the first."""
    folder = tmp_path_factory.mktemp("browser")
    write = writer(folder)
    for method, seen in (("pep-fedpt", 0.6), ("fedvpt", 0.5), (NASTY, 0.4)):
        for alpha in (0.05, 0.5):
            for seed in range(2):
                mean = seen + 0.1 * (alpha == 0.5) + 0.01 * (-1) ** seed
                run = write(method, alpha, seed, mean, config={"method": method}, environment={"torch": "2.9"})
                (run / "log.txt").write_text(f"{method} started")
    write("local", error="out of <i>memory</i>")
    return write_report(folder / "runs")


@pytest.fixture(scope="session")
def wait_until():
    """Waits for a condition on the page.

    `page.wait_for_function` does not fit: where its first try fails, it calls `eval`, which the report forbids.
    """

    def wait(page, condition, seconds=30):
        end = time.monotonic() + seconds
        while not page.evaluate(condition):
            assert time.monotonic() < end, f"not true within {seconds} s: {condition}"
            page.wait_for_timeout(20)

    return wait


@pytest.fixture
def opened(browser, request):
    """Opens files at the width of the parameter `page`; the test fails on any message or network request."""
    problems: list[str] = []
    pages = []

    def open_page(path, wide, fragment=""):
        page = browser.new_page(**VIEWS[wide], accept_downloads=True)
        page.add_init_script(CLIPBOARD)
        page.on("console", lambda message: problems.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        local = ("blob:", "data:")
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.split("#")[0] == path.as_uri() or asked.url.startswith(local)
                else problems.append(asked.url[:200])
            ),
        )
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("html[data-ready]", state="attached")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert problems == []


@pytest.fixture(params=[pytest.param("desktop", marks=pytest.mark.slow), "phone"])
def wide(request):
    """Each test runs at both widths."""
    return request.param


@pytest.fixture
def page(opened, report, wide):
    return opened(report, wide)


@pytest.fixture
def methods():
    """A function that reads the names of the rows shown."""
    return lambda page: [name.inner_text() for name in page.locator("#board tbody tr:visible th").all()]
