import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.methods import registry
from tests.benchmark.conftest import Bench, refused


def names(bench: Bench, *words: str) -> list[str]:
    said = bench("list", *words, "--json")
    assert said.code == 0
    return [row["name"] for row in json.loads(said.out)]


def test_methods_are_listed_with_their_papers_fields_and_variants(bench: Bench) -> None:
    rows = {row["name"]: row for row in json.loads(bench("list", "methods", "--json").out)}
    assert rows.keys() == set(registry.METHODS) | {f"+{name}" for name in registry.OPTIMISERS}
    tau = next(field for field in rows["pep-fedpt"]["fields"] if field["name"] == "tau")
    assert tau["default"] == 0.1
    assert tau["limits"].startswith("from ")
    assert "prior" in rows["pep-fedpt"]["variants"]
    assert rows["pep-fedpt"]["uses_prior"]
    assert not rows["local"]["held_out"]
    assert rows["local"]["no_plugins"] == sorted(registry.OPTIMISERS)
    assert "+fedadam" in bench("list", "methods", "pfpt").out.partition("not with: ")[2]
    assert rows["fedvpt"]["no_plugins"] == []
    text = bench("list", "methods", "pep-*").out
    assert "tau=0.1" in text
    assert ":prior" in text
    assert "fedvpt" not in text


def test_a_method_says_what_it_is_and_what_its_fields_mean(bench: Bench) -> None:
    rows = {row["name"]: row for row in json.loads(bench("list", "methods", "fed*", "--json").out)}
    ncm, per = rows["fedncm"], rows["fedper"]
    assert (ncm["year"], ncm["family"], ncm["personalised"], ncm["trained"]) == (2023, "training-free", False, False)
    assert (per["personalised"], per["held_out"], per["fused"], per["trained"]) == (True, True, True, True)
    assert per["fields"] == [
        {
            "name": "tokens",
            "type": "int",
            "default": 10,
            "meaning": "prompt tokens at the first layer",
            "limits": "from 1",
        }
    ]


def test_deviations_are_told_of_methods_and_of_plugins(bench: Bench) -> None:
    rows = {row["name"]: row for row in json.loads(bench("list", "methods", "--json").out)}
    assert any("no official code is public" in text for text in rows["pep-fedpt"]["deviations"])
    assert any("the local SGD has momentum" in text for text in rows["+scaffold"]["deviations"])
    assert rows["+fedprox"]["deviations"] == []


def test_a_wildcard_picks_by_name(bench: Bench) -> None:
    assert names(bench, "methods", "fedvpt-d*") == ["fedvpt-deep"]
    assert names(bench, "datasets", "dig*") == ["digits"]


def test_data_sets_are_listed_with_their_size(bench: Bench) -> None:
    said = bench("list", "datasets").out
    assert "digits" in said
    assert "10 classes, 1,437 / 360 images" in said
    assert "npz:FILE" in said


def test_presets_and_figures_are_listed(bench: Bench) -> None:
    assert "quick" in names(bench, "presets")
    assert "rounds=2" in bench("list", "presets").out
    assert "accuracy_by_alpha" in names(bench, "figures")


def test_a_method_of_a_plugin_is_listed(bench: Bench, plugin: Callable[..., Path]) -> None:
    assert names(bench, "methods", "own", "--plugin", str(plugin())) == ["own"]


def test_plugins_that_are_broken_are_told_of_and_the_others_listed(
    bench: Bench, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.BROKEN, "strange", "ImportError: no such thing")
    said = bench("list", "methods", "--plugin", plugin(text="1 / 0"))
    assert "ZeroDivisionError" in said.err
    assert "strange failed to import: ImportError: no such thing" in said.err
    assert "fedvpt" in said.out


def test_what_is_not_there_is_named(bench: Bench) -> None:
    refused(bench("list", "papers"), "papers", "methods, datasets")
    refused(bench("list", "methods", "nothing*"), "nothing*")


def test_the_embedded_backbone_is_listed_without_timm(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "list_models", None)
    assert names(bench, "backbones", "bench_*") == [EMBEDDED]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Four architectures for all of timm's, and the names of those that are built."""
    known = [
        "vit_tiny_patch16_224",
        "vit_base_patch16_siglip_224",
        "vit_small_patch14_reg4_dinov2",
        "deit_tiny_patch16_224",
    ]
    create, names = timm.create_model, list[str]()
    monkeypatch.setattr(timm, "list_models", lambda family: [n for n in known if n.startswith(family.rstrip("*"))])
    monkeypatch.setattr(timm, "create_model", lambda name, **kwargs: (names.append(name), create(name, **kwargs))[1])
    return names


def test_only_backbones_that_can_be_used_are_listed(bench: Bench, built: list[str]) -> None:
    assert names(bench, "backbones") == [EMBEDDED, "deit_tiny_patch16_224", "vit_tiny_patch16_224"]


def test_only_backbones_that_match_are_looked_at(bench: Bench, built: list[str]) -> None:
    assert names(bench, "backbones", "vit_tiny*") == ["vit_tiny_patch16_224"]
    assert built == ["vit_tiny_patch16_224"]


def test_nothing_found_has_the_same_exit_code_in_json(bench: Bench) -> None:
    assert bench("list", "methods", "nothing*", "--json").code == bench("list", "methods", "nothing*").code
