"""Links in the Markdown files have a target."""

import pytest

from tests.docs.markdown import FILES, ROOT, anchors, links


def broken(file, root=ROOT):
    """Links of a file to a missing file or heading. The build of the site checks links to generated pages."""
    found = []
    for target in links(file.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = file.parent / name if name else file
        if path.parent.name in ("methods", "commands") and path.parent.parent == root / "docs":
            continue
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            found.append(target)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_has_a_target(file):
    assert broken(file) == []


def test_a_link_without_a_target_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# A heading, with `code`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](gone.md) ![c](gone.png) [d](there.md#a-heading-with-code) [e](there.md#other) [f](#none)\n"
        "[g](https://example.org) `[h](code.md)`\n```\n[i](block.md)\n```\n"
    )
    assert broken(page, tmp_path) == ["gone.md", "gone.png", "there.md#other", "#none"]
