"""The table of uploads is what a client of the toy federation sends; the contract tests compare it with whole runs."""

import pytest

from fedprompt.benchmark.contract import uploads


def test_the_table_has_no_name_that_is_not_registered():
    assert set(uploads._table()) <= set(uploads.registered()), "run python -m fedprompt.benchmark.contract.uploads"


@pytest.mark.parametrize("name", uploads.registered())
def test_an_entry_of_the_table_is_what_the_clients_send(name):
    assert uploads.of(name) == uploads.found(name), "run python -m fedprompt.benchmark.contract.uploads"


def test_a_method_sends_what_its_card_says():
    assert list(uploads.of("fedncm")) == ["class ids", "class counts", "class sums"]
    assert list(uploads.of("lda")) == ["class ids", "class counts", "class sums", "second moments"]
    assert uploads.of("fedvpt") == {"parameters": ["head.bias", "head.weight", "prompt"]}
    assert uploads.of("local") == uploads.of("majority") == {}


def test_a_variant_without_prototypes_sends_no_class_counts_but_tells_its_classes():
    assert {"class counts", "class sums"} <= uploads.of("pep-fedpt").keys()
    assert list(uploads.of("pep-fedpt:prior")) == ["parameters", "class ids"]


def test_an_optimiser_is_listed_with_what_it_adds():
    assert uploads.of("+scaffold") == {
        "optimiser tensors": ["scaffold.head.bias", "scaffold.head.weight", "scaffold.prompt"]
    }
    assert uploads.of("+fedprox") == uploads.of("+la") == {}


def test_a_name_that_the_table_lacks_is_trained_on_the_toy_federation(monkeypatch):
    monkeypatch.setattr(uploads, "_table", dict)
    assert uploads.of("fedncm") == uploads.found("fedncm") != {}
