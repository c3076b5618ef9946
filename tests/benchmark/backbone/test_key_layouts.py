"""Weight files with the tensor names of DINO, DINOv2, DINOv3 and transformers, which are written out by hand."""

from functools import partial

import pytest
import timm
import torch
from safetensors.torch import save_file

from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.errors import ConfigError
from tests.benchmark.backbone.small_models import randomised

VIT, DINOV2, DINOV2_REG = "vit_small_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"
DINOV3, DINOV3_BIAS = "vit_small_patch16_dinov3", "vit_small_patch16_dinov3_qkvb"
DINOV3_GATED, EVA02 = "vit_small_plus_patch16_dinov3_qkvb", "eva02_base_patch16_clip_224"
SIDES = {DINOV2: 28, DINOV2_REG: 28}
WIDTH, LAYERS = 24, 2


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two narrow layers for every architecture of timm."""
    make = partial(timm.create_model, depth=LAYERS, embed_dim=WIDTH, num_heads=2)
    monkeypatch.setattr(timm, "create_model", make)


def side(name):
    return SIDES.get(name, 32)


def weights(name):
    """Random weights under timm's names."""
    return randomised(timm.create_model(name, num_classes=0, img_size=side(name))).state_dict()


def loaded(name, state, tmp_path, image_size=None):
    torch.save(state, tmp_path / "weights.pt")
    vit = backbone.load(name, 10, str(tmp_path / "weights.pt"), image_size or side(name))
    return vit.model.state_dict()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6, msg=key)


def split(state, name):
    """The thirds of a tensor: those of queries, keys and values."""
    return state[name].chunk(3)


def copied(state, names):
    """Tensors under other names; `weight` and `bias` follow those that end with a dot."""
    found = {}
    for old, new in names.items():
        ends = ("weight", "bias") if old.endswith(".") else ("",)
        found |= {new + end: state[old + end] for end in ends if old + end in state}
    return found


def vit_of_transformers(state):
    """`ViTModel` and `DeiTModel`."""
    names = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        "norm.": "layernorm.",
    }
    found = {}
    for i in range(LAYERS):
        ours, theirs = f"blocks.{i}.", f"encoder.layer.{i}."
        names |= {
            f"{ours}norm1.": f"{theirs}layernorm_before.",
            f"{ours}norm2.": f"{theirs}layernorm_after.",
            f"{ours}attn.proj.": f"{theirs}attention.output.dense.",
            f"{ours}mlp.fc1.": f"{theirs}intermediate.dense.",
            f"{ours}mlp.fc2.": f"{theirs}output.dense.",
        }
        for end in ("weight", "bias"):
            for part, value in zip(("query", "key", "value"), split(state, f"{ours}attn.qkv.{end}"), strict=True):
                found[f"{theirs}attention.attention.{part}.{end}"] = value
    return found | copied(state, names)


def dinov2_of_transformers(state):
    """`Dinov2Model` and `Dinov2WithRegistersModel`."""
    names = {"patch_embed.proj.": "embeddings.patch_embeddings.projection.", "norm.": "layernorm."}
    found = {f"embeddings.{key}": value for key, value in original_tokens(state).items()}
    found["embeddings.position_embeddings"] = found.pop("embeddings.pos_embed")
    for i in range(LAYERS):
        ours, theirs = f"blocks.{i}.", f"encoder.layer.{i}."
        names |= {f"{ours}{part}.": f"{theirs}{part}." for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")}
        names |= {f"{ours}ls{j}.gamma": f"{theirs}layer_scale{j}.lambda1" for j in (1, 2)}
        names[f"{ours}attn.proj."] = f"{theirs}attention.output.dense."
        for end in ("weight", "bias"):
            for part, value in zip(("query", "key", "value"), split(state, f"{ours}attn.qkv.{end}"), strict=True):
                found[f"{theirs}attention.attention.{part}.{end}"] = value
    return found | copied(state, names)


def original_tokens(state):
    """DINOv2's tokens before the patches: positions of cls and patches in one tensor, none for registers."""
    if "reg_token" not in state:
        return {"cls_token": state["cls_token"], "pos_embed": state["pos_embed"], "mask_token": torch.ones(1, WIDTH)}
    position = torch.full((1, 1, WIDTH), 0.5)  # timm keeps the sum of cls and its position
    return {
        "cls_token": state["cls_token"] - position,
        "pos_embed": torch.cat([position, state["pos_embed"]], dim=1),
        "register_tokens": state["reg_token"],
        "mask_token": torch.ones(1, WIDTH),
    }


def original_dinov2(state):
    """The files of facebookresearch/dinov2."""
    rest = {key: value for key, value in state.items() if key not in ("cls_token", "pos_embed", "reg_token")}
    return original_tokens(state) | rest


def original_dinov3(state):
    """The files of facebookresearch/dinov3: joint biases, those of the keys masked, and constants of the rotation."""
    found = {"storage_tokens": state["reg_token"], "mask_token": torch.ones(1, WIDTH)}
    found["rope_embed.periods"] = torch.ones(3)
    for key, value in state.items():
        if key.endswith(("q_bias", "v_bias", "reg_token")):
            continue
        for ours, theirs in (("gamma_", "ls"), ("fc1_g", "w1"), ("fc1_x", "w2")):
            key = key.replace(ours, theirs)
        key = key.replace("fc2", "w3") if any("fc1_g" in name for name in state) else key
        found[f"{key}.gamma" if key.endswith(("ls1", "ls2")) else key] = value
    for i in range(LAYERS):
        zeros = torch.zeros(WIDTH)
        q, v = (state.get(f"blocks.{i}.attn.{part}_bias", zeros) for part in "qv")
        found[f"blocks.{i}.attn.qkv.bias"] = torch.cat([q, torch.full_like(q, 7.0), v])
        found[f"blocks.{i}.attn.qkv.bias_mask"] = torch.ones(3 * WIDTH)
    return found


def dinov3_of_transformers(state):
    """`DINOv3ViTModel`."""
    names = {
        "cls_token": "embeddings.cls_token",
        "reg_token": "embeddings.register_tokens",
        "patch_embed.proj.": "embeddings.patch_embeddings.",
        "norm.": "norm.",
    }
    found = {"embeddings.mask_token": torch.ones(1, 1, WIDTH)}
    for i in range(LAYERS):
        ours, theirs = f"blocks.{i}.", f"layer.{i}."
        names |= {
            f"{ours}norm1.": f"{theirs}norm1.",
            f"{ours}norm2.": f"{theirs}norm2.",
            f"{ours}gamma_1": f"{theirs}layer_scale1.lambda1",
            f"{ours}gamma_2": f"{theirs}layer_scale2.lambda1",
            f"{ours}attn.proj.": f"{theirs}attention.o_proj.",
            f"{ours}mlp.fc1.": f"{theirs}mlp.up_proj.",
            f"{ours}mlp.fc1_g.": f"{theirs}mlp.gate_proj.",
            f"{ours}mlp.fc1_x.": f"{theirs}mlp.up_proj.",
            f"{ours}mlp.fc2.": f"{theirs}mlp.down_proj.",
        }
        parts = split(state, f"{ours}attn.qkv.weight")
        found |= {f"{theirs}attention.{p}_proj.weight": v for p, v in zip("qkv", parts, strict=True)}
        for part in "qv":
            found[f"{theirs}attention.{part}_proj.bias"] = state.get(f"{ours}attn.{part}_bias", torch.zeros(WIDTH))
    present = {old: new for old, new in names.items() if old in state or f"{old}weight" in state}
    return found | copied(state, present)


LAYOUTS = [
    (VIT, vit_of_transformers),
    (DINOV2, dinov2_of_transformers),
    (DINOV2, original_dinov2),
    (DINOV2_REG, dinov2_of_transformers),
    (DINOV2_REG, original_dinov2),
    *(
        (name, layout)
        for name in (DINOV3, DINOV3_BIAS, DINOV3_GATED)
        for layout in (original_dinov3, dinov3_of_transformers)
    ),
]


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_published_names_give_the_weights_of_timm(name, layout, tmp_path):
    state = weights(name)
    theirs = layout(state)
    assert theirs.keys() != state.keys()
    assert_same(loaded(name, theirs, tmp_path), state)


@pytest.mark.parametrize("name", [VIT, DINOV2_REG, DINOV3, DINOV3_GATED, EVA02])
def test_timms_own_names_are_read_for_every_family(name, tmp_path):
    state = weights(name)
    assert_same(loaded(name, state, tmp_path), state)


def test_a_safetensors_file_with_transformers_names_is_read(tmp_path):
    state = weights(VIT)
    theirs = {key: value.contiguous() for key, value in vit_of_transformers(state).items()}
    save_file(theirs, tmp_path / "model.safetensors")
    vit = backbone.load(VIT, 10, str(tmp_path / "model.safetensors"), 32)
    assert_same(vit.model.state_dict(), state)


@pytest.mark.parametrize("prefix", ["vit.", "timm_model.", "backbone.", "module.backbone."])
def test_a_backbone_inside_another_model_is_read_and_heads_are_ignored(prefix, tmp_path):
    state = weights(VIT)
    theirs = vit_of_transformers(state) if prefix == "vit." else state
    wrapped = {prefix + key: value for key, value in theirs.items()}
    wrapped |= {"classifier.weight": torch.ones(3, WIDTH), "head.mlp.0.weight": torch.ones(5, 5)}
    assert_same(loaded(VIT, wrapped, tmp_path), state)


def test_the_pooler_of_transformers_is_ignored(tmp_path):
    state = weights(VIT)
    assert_same(loaded(VIT, vit_of_transformers(state) | {"pooler.dense.weight": torch.ones(2)}, tmp_path), state)


def test_the_teacher_of_a_dino_checkpoint_is_read(tmp_path):
    state, other = weights(VIT), weights(VIT)
    teacher = {f"backbone.{key}": value for key, value in state.items()} | {"head.last.weight": torch.ones(2)}
    student = {f"module.backbone.{key}": value + 1 for key, value in other.items()}
    assert_same(loaded(VIT, {"student": student, "teacher": teacher, "epoch": 3}, tmp_path), state)


def test_layer_scale_of_original_deit3_files_is_renamed(tmp_path):
    name = "deit3_small_patch16_224"
    state = weights(name)
    theirs = {key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for key, v in state.items()}
    assert_same(loaded(name, theirs, tmp_path), state)


@pytest.mark.parametrize("layout", [original_dinov2, dinov2_of_transformers])
def test_positions_of_a_file_at_another_size_are_resampled(layout, tmp_path):
    state = weights(DINOV2_REG)
    state["pos_embed"] = torch.full((1, 4, WIDTH), 0.25)
    found = loaded(DINOV2_REG, layout(state), tmp_path, image_size=56)
    torch.testing.assert_close(found["pos_embed"], torch.full((1, 16, WIDTH), 0.25))
    torch.testing.assert_close(found["cls_token"], state["cls_token"])


@pytest.mark.parametrize("layout", [original_dinov3, dinov3_of_transformers])
def test_biases_that_the_backbone_has_not_are_refused_with_the_remedy(layout, tmp_path):
    with pytest.raises(ConfigError, match=r"has biases of queries and values, .* ends with _qkvb"):
        loaded(DINOV3, layout(weights(DINOV3_BIAS)), tmp_path)


def test_loading_dinov3_prints_nothing(tmp_path, capsys):
    loaded(DINOV3, original_dinov3(weights(DINOV3)), tmp_path)
    assert capsys.readouterr().out == ""


def test_weights_of_another_family_are_refused_by_the_names_that_differ(tmp_path):
    with pytest.raises(ConfigError, match=r"does not fit the backbone; missing: blocks\.0\.gamma_1"):
        loaded(DINOV3, weights(VIT), tmp_path)


def test_a_model_trained_to_average_its_patches_is_announced(caplog):
    backbone.load("eva02_tiny_patch14_224", 10, "random", 28)
    assert "eva02_tiny_patch14_224 was trained to average its patches; methods read its cls token" in caplog.text
