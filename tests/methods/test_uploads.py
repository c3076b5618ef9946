import pytest

from fedprompt.methods import registry
from fedprompt.methods.uploads import KINDS, UNDECLARED, kinds


def test_a_shared_tensor_is_a_parameter_whatever_its_name():
    assert kinds(["count", "head.weight"], shared=["count", "head.weight"]) == {"parameters": ["count", "head.weight"]}


def test_sums_and_counts_are_those_of_classes_only_with_one_row_per_class():
    assert kinds(["sum", "count"]) == {"sample counts": ["count"], "feature sums": ["sum"]}
    by_class = kinds(["prototype.sum", "prototype.count"], class_rows=["prototype.sum", "prototype.count"])
    assert by_class == {
        "class ids": ["prototype.count", "prototype.sum"],
        "class counts": ["prototype.count"],
        "class sums": ["prototype.sum"],
    }


def test_trained_rows_of_the_clients_classes_tell_which_classes_it_has():
    found = kinds(["class_prompts", "head.weight"], ["class_prompts", "head.weight"], ["class_prompts"])
    assert found == {"parameters": ["class_prompts", "head.weight"], "class ids": ["class_prompts"]}


def test_what_an_optimiser_sends_beside_a_shared_tensor_is_not_a_parameter():
    assert kinds(["scaffold.prompt", "prompt"], ["prompt"]) == {
        "parameters": ["prompt"],
        "optimiser tensors": ["scaffold.prompt"],
    }


def test_a_declared_kind_holds_for_a_name_or_a_wildcard_and_before_the_meaning_of_a_name():
    declared = {"latest.*": "parameters", "count": "sample counts"}
    assert kinds(["latest.a", "count"], class_rows=["count"], declared=declared) == {
        "parameters": ["latest.a"],
        "class ids": ["count"],
        "sample counts": ["count"],
    }


def test_a_tensor_of_unknown_meaning_is_undeclared():
    assert kinds(["secret", "gram"]) == {"second moments": ["gram"], UNDECLARED: ["secret"]}


def test_sums_for_initial_heads_are_by_class_and_those_for_standardised_features_are_not():
    found = kinds(["head_init.sum", "head_init.count", "standardize.sum", "standardize.count", "standardize.second"])
    assert found == {
        "class ids": ["head_init.count", "head_init.sum"],
        "class counts": ["head_init.count"],
        "class sums": ["head_init.sum"],
        "sample counts": ["standardize.count"],
        "feature sums": ["standardize.sum"],
        "second moments": ["standardize.second"],
    }


def test_kinds_come_in_one_order():
    found = list(kinds(["gram", "sum", "a", "count"], ["a"], ["count", "sum"]))
    assert found == [kind for kind in KINDS if kind in found]


registry.discover()


@pytest.mark.parametrize("part", [*registry.METHODS.values(), *registry.OPTIMISERS.values()], ids=lambda cls: cls.name)
def test_every_method_and_optimiser_links_its_paper(part):
    if part.__module__.startswith("fedprompt.") and not part.paper.startswith("no paper"):
        assert part.url.startswith("https://"), f"@register({part.name!r}) has no url of its paper"
