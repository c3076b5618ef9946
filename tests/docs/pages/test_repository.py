import pytest

from docs.pages import repository


@pytest.fixture
def root(tmp_path):
    """A repository with a README, a page of docs, two folders of measured tables, and a source file."""
    for name in ("README.md", "docs/page.md", "results/published/README.md", "results/published/a/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# Heading\n")
    (tmp_path / "results/published/b").mkdir()
    for name in (
        "results/published/b/table.md",
        "results/published/b/one.png",
        "results/published/b/report.html",
        "code.py",
    ):
        (tmp_path / name).write_text("")
    return tmp_path


def test_the_readme_and_the_measured_tables_are_on_the_site(root):
    assert repository.files(root) == {
        "README.md": "readme.md",
        "results/published/README.md": "published/README.md",
        "results/published/a/README.md": "published/a/README.md",
        "results/published/b/table.md": "published/b/table.md",
        "results/published/b/one.png": "published/b/one.png",
        "results/published/b/report.html": "published/b/report.html",
    }


def test_every_measured_folder_is_in_the_navigation(root):
    measured = repository.measured(repository.files(root))
    assert measured == ["published/README.md", {"a": "published/a/README.md"}, {"b": "published/b/table.md"}]


def test_the_navigation_prefers_a_readme_to_a_table(root):
    (root / "results/published/b/README.md").write_text("")
    assert {"b": "published/b/README.md"} in repository.measured(repository.files(root))


@pytest.mark.parametrize(
    ("source", "link", "rewritten"),
    [
        ("docs/page.md", "[r](../README.md#heading)", "[r](readme.md#heading)"),
        ("docs/page.md", "[m](../results/published/README.md)", "[m](published/README.md)"),
        ("README.md", "[p](docs/page.md)", "[p](page.md)"),
        ("README.md", "[`a`](results/published/a)", "[`a`](published/a/README.md)"),
        ("README.md", "![f](results/published/b/one.png)", "![f](published/b/one.png)"),
        ("results/published/a/README.md", "[b](../b/table.md)", "[b](../b/table.md)"),
        ("results/published/a/README.md", "[p](../../../docs/page.md)", "[p](../../page.md)"),
        ("README.md", "[n](docs/notebook.ipynb)", "[n](notebook.md)"),
        ("README.md", "[c](code.py) [d](results/published/b)", "c d"),
        ("README.md", "[x](gone.md)", "[x](gone.md)"),
        ("README.md", "[h](#heading) [w](https://example.org)", "[h](#heading) [w](https://example.org)"),
        ("README.md", "```\n[p](docs/page.md)\n```", "```\n[p](docs/page.md)\n```"),
    ],
)
def test_a_link_to_a_file_becomes_a_link_to_its_page(root, source, link, rewritten):
    assert repository.relink(link, source, repository.files(root), root) == rewritten
