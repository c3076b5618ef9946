import json

import pytest
import timm

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.methods import registry
from tests.benchmark.conftest import refused


def names(bench, *words):
    answer = bench.ok("list", *words, "--json")
    return [row["name"] for row in json.loads(answer.out)]


def test_methods_are_listed_with_papers_fields_and_variants(bench):
    rows = {row["name"]: row for row in json.loads(bench("list", "methods", "--json").out)}
    assert rows.keys() == set(registry.METHODS) | {f"+{name}" for name in registry.OPTIMISERS}
    tau = next(field for field in rows["pep-fedpt"]["fields"] if field["name"] == "tau")
    assert tau["default"] == 0.1
    assert tau["limits"].startswith("from ")
    assert "prior" in rows["pep-fedpt"]["variants"]
    assert rows["fedproto"]["compared"] == ["head"]
    assert rows["pep-fedpt"]["compared"] == []
    assert "variants: :head (in all)\n" in bench("list", "methods", "fedproto").out
    assert rows["pep-fedpt"]["uses_prior"]
    assert not rows["local"]["held_out"]
    optimisers = {name for name, cls in registry.OPTIMISERS.items() if cls.family == "optimiser"}
    assert rows["local"]["no_plugins"] == sorted(optimisers)
    assert rows["fedncm"]["no_plugins"] == sorted(registry.OPTIMISERS)
    assert set(rows["fedrod"]["no_plugins"]) == set(registry.OPTIMISERS) - optimisers
    assert (rows["+la"]["family"], rows["+fedprox"]["family"]) == ("loss", "optimiser")
    assert "+fedadam" in bench("list", "methods", "pfpt").out.partition("not with: ")[2]
    assert rows["fedvpt"]["no_plugins"] == []
    text = bench("list", "methods", "pep-*").out
    assert "tau=0.1" in text
    assert ":prior" in text
    assert "fedvpt" not in text


def test_all_methods_are_on_one_screen_by_family_and_long_describes_them(bench):
    text = bench.ok("list", "methods").out
    words = set(text.split())
    assert set(registry.METHODS) | {f"+{name}" for name in registry.OPTIMISERS} <= words
    assert "fedproto:head" in words
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 110
    long = bench.ok("list", "methods", "--long").out
    assert "tau=0.1" in long
    assert bench("list", "methods", "pep-fedpt").out in long


def test_the_values_of_a_field_are_listed_in_place_of_the_name_of_their_type(bench):
    text = bench("list", "methods", "pep-fedpt").out
    assert "(posterior | prior | prototype | hard | uniform | oracle)" in text
    assert "Mixing" not in text
    assert "(head | nearest)" in bench("list", "methods", "fedproto").out


def test_metrics_are_listed_with_their_meaning(bench):
    text = bench.ok("list", "metrics").out
    assert "seen.*                   seen clients\n" in text
    assert "*.worst" in text
    assert "upload_mb                10^6 bytes from clients to the server" in text
    assert "None" not in text
    assert names(bench, "metrics", "upload*") == ["upload_mb"]


def test_method_rows_contain_facts_and_fields(bench):
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


def test_deviations_of_methods_and_optimisers_are_listed(bench):
    rows = {row["name"]: row for row in json.loads(bench("list", "methods", "--json").out)}
    assert any("no official code is public" in text for text in rows["pep-fedpt"]["deviations"])
    assert any("the local SGD has momentum" in text for text in rows["+scaffold"]["deviations"])
    assert rows["+fedprox"]["deviations"] == []


def test_the_local_optimiser_of_the_paper_is_listed(bench):
    (row,) = json.loads(bench("list", "methods", "pfpt", "--json").out)
    assert row["local_optimiser"].startswith("Adam 1e-4")
    assert f"local optimiser of its paper: {row['local_optimiser']}" in bench("list", "methods", "pfpt").out


def test_wildcard_selects_names(bench):
    assert names(bench, "methods", "fedvpt-d*") == ["fedvpt-deep"]
    assert names(bench, "datasets", "dig*") == ["digits"]


def test_data_sets_are_listed_with_sizes(bench):
    answer = bench("list", "datasets").out
    assert "digits" in answer
    assert "10 classes, 1,437 / 360 images" in answer
    assert "npz:FILE" in answer


def test_presets_and_figures_are_listed(bench):
    assert "quick" in names(bench, "presets")
    assert "rounds=2" in bench("list", "presets").out
    assert "accuracy_by_alpha" in names(bench, "figures")


def test_method_of_a_plugin_is_listed(bench, plugin):
    assert names(bench, "methods", "own", "--plugin", str(plugin())) == ["own"]


def test_broken_plugins_are_reported_and_other_methods_listed(bench, plugin, monkeypatch):
    monkeypatch.setitem(registry.BROKEN, "strange", "ImportError: no such thing")
    answer = bench("list", "methods", "--plugin", plugin(text="1 / 0"))
    assert "ZeroDivisionError" in answer.err
    assert "strange failed to import: ImportError: no such thing" in answer.err
    assert "fedvpt" in answer.out


def test_unknown_list_or_name_is_refused(bench):
    refused(bench("list", "papers"), "papers", "methods, datasets")
    refused(bench("list", "methods", "nothing*"), "nothing*")


def test_embedded_backbone_is_listed_without_timm(bench, monkeypatch):
    monkeypatch.setattr(timm, "list_models", None)
    assert names(bench, "backbones", "bench_*") == [EMBEDDED]


@pytest.fixture
def built(monkeypatch):
    """Replaces timm's architectures by four; returns the names of those that are built."""
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


def test_only_supported_backbones_are_listed(bench, built):
    assert names(bench, "backbones") == [EMBEDDED, "deit_tiny_patch16_224", "vit_tiny_patch16_224"]


def test_only_matching_backbones_are_built(bench, built):
    assert names(bench, "backbones", "vit_tiny*") == ["vit_tiny_patch16_224"]
    assert built == ["vit_tiny_patch16_224"]


def test_no_match_has_the_same_exit_code_with_json(bench):
    assert bench("list", "methods", "nothing*", "--json").code == bench("list", "methods", "nothing*").code
