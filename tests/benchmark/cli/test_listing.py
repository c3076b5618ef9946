import json
from importlib.metadata import EntryPoint

import pytest
import timm

from fedprompt.benchmark.backbone.loading import load
from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.methods import discovery, registry
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


def test_what_leaves_the_client_is_listed(bench):
    rows = {row["name"]: row for row in json.loads(bench.ok("list", "methods", "--json").out)}
    assert list(rows["fedncm"]["uploads"]) == ["class ids", "class counts", "class sums"]
    assert rows["fedvpt"]["uploads"] == {"parameters": ["head.bias", "head.weight", "prompt"]}
    assert "uploads: class ids, class counts, class sums\n" in bench.ok("list", "methods", "fedncm").out
    assert "uploads: nothing\n" in bench.ok("list", "methods", "local").out
    assert "uploads" not in bench.ok("list", "methods", "+fedprox").out
    assert "uploads: optimiser tensors\n" in bench.ok("list", "methods", "+scaffold").out


def test_a_plugin_that_fails_is_listed_without_its_uploads(bench, plugin):
    text = """
from fedprompt.methods import Method, register

@register("fails", paper="none", year=2026, family="test")
class Fails(Method):
    "Fails."

    def shared(self, vit, rng):
        raise RuntimeError("not yet")
"""
    answer = bench.ok("list", "methods", "fails", "--plugin", plugin(text=text))
    assert "uploads" not in answer.out


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


@pytest.mark.usefixtures("registry_tables")
def test_broken_plugins_are_reported_and_other_methods_listed(bench, plugin, monkeypatch, caplog):
    monkeypatch.setattr(discovery, "_entry_points", lambda: [EntryPoint("strange", "no_such_module", "bench.methods")])
    answer = bench("list", "methods", "--plugin", plugin(text="1 / 0"))
    assert "ZeroDivisionError" in answer.err
    assert "plug-in strange failed to import and is left out: ModuleNotFoundError: No module" in caplog.text
    assert "fedvpt" in answer.out


def test_unknown_list_or_name_is_refused(bench):
    refused(bench("list", "papers"), "papers", "methods, datasets")
    refused(bench("list", "methods", "nothing*"), "nothing*")


def test_embedded_backbone_is_listed_without_timm(bench, monkeypatch):
    monkeypatch.setattr(timm, "list_models", None)
    assert names(bench, "backbones", "bench_*") == [EMBEDDED]


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Replaces timm's architectures by five, with an empty cache; returns the names of those that are built."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    known = {
        "vision_transformer": [
            "vit_tiny_patch16_224",
            "vit_base_patch16_siglip_224",
            "vit_small_patch14_reg4_dinov2",
        ],
        "deit": ["deit_tiny_patch16_224"],
        "eva": ["vit_small_patch16_dinov3"],
    }
    create, names = timm.create_model, list[str]()
    monkeypatch.setattr(timm, "list_models", lambda module: known[module])
    monkeypatch.setattr(timm, "create_model", lambda name, **kwargs: (names.append(name), create(name, **kwargs))[1])
    return names


def test_only_supported_backbones_are_listed(bench, built):
    assert names(bench, "backbones") == [
        EMBEDDED,
        "deit_tiny_patch16_224",
        "vit_small_patch14_reg4_dinov2",
        "vit_small_patch16_dinov3",
        "vit_tiny_patch16_224",
    ]


def test_only_matching_backbones_are_built(bench, built):
    assert names(bench, "backbones", "vit_tiny*") == ["vit_tiny_patch16_224"]
    assert built == ["vit_tiny_patch16_224"]


def test_all_backbones_are_built_once_and_then_listed_without_timm(bench, built, monkeypatch):
    names(bench, "backbones", "vit_tiny*")
    first = bench.ok("list", "backbones", "--json").out
    assert len(built) == 6  # one for its own pattern, five for the whole list
    monkeypatch.setattr(timm, "list_models", None)
    assert bench.ok("list", "backbones", "--json").out == first
    assert names(bench, "backbones", "*reg4*") == ["vit_small_patch14_reg4_dinov2"]
    assert len(built) == 6


def test_an_invalid_list_of_backbones_is_built_again(bench, built, tmp_path):
    whole = names(bench, "backbones")
    (file,) = (tmp_path / "cache").glob("backbones-*.json")
    for content in ("", "[]", '{"entries": [{"name": "a"}]}', '{"entries": 3}'):
        file.write_text(content)
        assert names(bench, "backbones") == whole


def test_backbones_are_listed_where_the_cache_cannot_be_written(bench, built, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    assert "vit_tiny_patch16_224" in names(bench, "backbones")


def test_backbones_are_listed_with_family_sizes_and_the_licences_of_their_weights(bench, built):
    (row,) = json.loads(bench.ok("list", "backbones", "*reg4*", "--json").out)
    assert (row["family"], row["registers"], row["tokens"], row["image_size"]) == ("ViT, 4 registers", 4, 1374, 518)
    assert row["parameters"] == sum(p.numel() for p in timm.create_model(row["name"], num_classes=0).parameters())
    assert row["weights"] == {"lvd142m": "apache-2.0"}
    text = bench.ok("list", "backbones", "*reg4*").out
    assert "ViT, 4 registers; 22.1 M parameters; 1,374 tokens at 518 px in patches of 14" in text
    assert "weights: lvd142m (apache-2.0)" in text


def test_weights_are_grouped_by_licence_and_a_missing_licence_is_named(bench):
    text = bench.ok("list", "backbones", "vit_base_patch16_224").out
    assert "mae (cc-by-nc-4.0)" in text
    assert "bamboo (licence not stated)" in text
    assert text.count("(apache-2.0)") == 1


def test_the_listed_sizes_of_the_embedded_backbone_are_its_own(bench):
    (row,) = json.loads(bench.ok("list", "backbones", EMBEDDED, "--json").out)
    vit = load(EMBEDDED, 10)
    assert row["parameters"] == sum(p.numel() for p in vit.model.parameters())
    assert (row["tokens"], row["image_size"], row["registers"]) == (vit.tokens, vit.image_size, vit.registers)


def test_a_model_that_averages_its_patches_says_so(bench):
    assert "trained to average its patches" in bench.ok("list", "backbones", "eva02_tiny_patch14_224").out
    assert "trained to average" not in bench.ok("list", "backbones", "vit_small_patch16_dinov3").out


def test_no_match_has_the_same_exit_code_with_json(bench):
    assert bench("list", "methods", "nothing*", "--json").code == bench("list", "methods", "nothing*").code
