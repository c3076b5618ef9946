from docs.pages.uploads import page
from fedprompt.methods import registry
from fedprompt.methods.uploads import KINDS, UNDECLARED

TEXT = page().text


def marks(name):
    """The kinds that the table marks for a method."""
    head, *rows = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith(("| method", "| [`"))]
    (row,) = [row for row in rows if row[0].startswith(f"[`{name}`]")]
    return [kind for kind, mark in zip(head[1:], row[1:], strict=False) if mark.strip() == "yes"]


def test_every_method_has_a_row_with_the_kinds_of_its_uploads():
    registry.discover()
    own = [name for name, cls in registry.METHODS.items() if cls.__module__.startswith("fedprompt.methods.")]
    assert all(f"| [`{name}`]({name}.md)" in TEXT for name in own)
    assert marks("fedncm") == ["class ids", "class counts", "class sums"]
    assert marks("fedvpt") == ["parameters"]
    assert marks("majority") == []


def test_a_variant_has_a_row_only_if_it_sends_other_kinds():
    assert marks("pep-fedpt:prior") == ["parameters", "class ids"]
    assert "`pep-fedpt:no-shared`" not in TEXT


def test_every_kind_is_explained():
    assert all(f"`{kind}`\n:   " in TEXT for kind in KINDS if kind != UNDECLARED)


def test_the_sums_that_the_protocol_collects_are_listed():
    for option in ("--standardize whiten", "--head-init ridge", "calibration sums", "57 temperatures"):
        assert option in TEXT


def test_only_optimisers_that_send_something_are_said_to():
    sentence = TEXT.partition("Optimiser tensors are sent by ")[2]
    assert sentence.startswith("`+scaffold`: ")
    assert "`+fedprox`" in sentence.partition("Nothing is added by")[2]
