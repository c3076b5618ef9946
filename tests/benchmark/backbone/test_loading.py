import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from fedprompt.benchmark.backbone import embedded
from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.errors import ConfigError

TINY = "test_vit"  # timm's smallest plain ViT: 160 px in patches of 16, width 64
SHARED = Path(__file__).parents[3] / "../shared/data"
REAL_WEIGHTS = SHARED / "vit_tiny_patch16_224.in21k_in1k_tinyimagenet.backbone.fp16.safetensors"
REAL_IMAGES = SHARED / "cifar10.subset-500train-100test.npz"


def weights(image_size=32, seed=5, **changes):
    torch.manual_seed(seed)
    return timm.create_model(TINY, img_size=image_size, **({"num_classes": 0} | changes)).state_dict()


def loaded(path, image_size=32, patch_size=None):
    return backbone.load(TINY, 10, str(path), image_size, patch_size).model.state_dict()


def message(path, name=TINY):
    with pytest.raises(ConfigError) as raised:
        backbone.load(name, 10, str(path), 32)
    text = str(raised.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_safetensors_and_torch_files_give_the_same_weights(tmp_path):
    state = weights(num_classes=7)  # with a head, which is ignored
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")
    torch.save({"model": state, "epoch": 3}, tmp_path / "b.pth")
    torch.save({"state_dict": state}, tmp_path / "c.bin")
    for name in ("a.safetensors", "a.pt", "b.pth", "c.bin"):
        tensors = loaded(tmp_path / name)
        assert tensors.keys() == state.keys() - {"head.weight", "head.bias"}
        assert all(torch.equal(value, state[key]) for key, value in tensors.items())


def test_half_precision_weights_are_converted_to_fp32(tmp_path):
    state = weights()
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "half.pt")
    tensors = loaded(tmp_path / "half.pt")
    assert all(value.dtype == torch.float32 for value in tensors.values())
    torch.testing.assert_close(tensors, {key: value.half().float() for key, value in state.items()})


def test_another_image_size_resamples_only_the_positions(tmp_path):
    state = weights(image_size=64)
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], torch.full((1, 16, 64), 0.25)], dim=1)
    torch.save(state, tmp_path / "a.pt")
    tensors = loaded(tmp_path / "a.pt", image_size=32)
    assert tensors["pos_embed"].shape == (1, 5, 64)
    torch.testing.assert_close(tensors["pos_embed"][:, 1:], torch.full((1, 4, 64), 0.25))  # constant as before
    assert all(torch.equal(tensors[key], state[key]) for key in tensors if key != "pos_embed")


def test_a_larger_patch_embeds_a_uniform_image_as_before(tmp_path):
    # FlexiViT's resampling is exact for images enlarged with the patches; an enlarged uniform image stays uniform.
    state = weights(image_size=32)
    torch.save(state, tmp_path / "a.pt")
    vit = backbone.load(TINY, 10, str(tmp_path / "a.pt"), 64, 32)
    assert (vit.patch_size, vit.tokens) == (32, 5)
    patches = vit.model.patch_embed(torch.ones(1, 3, 64, 64)).reshape(-1, 64)
    expected = state["patch_embed.proj.weight"].sum((1, 2, 3)) + state["patch_embed.proj.bias"]
    torch.testing.assert_close(patches, expected.expand(4, -1), rtol=1e-3, atol=1e-3)


def test_the_embedded_weights_load_at_two_image_sizes():
    small = backbone.load(EMBEDDED, 10)
    assert (small.dim, small.depth, small.image_size, small.patch_size, small.tokens) == (96, 6, 32, 8, 17)
    wide = backbone.load(EMBEDDED, 10, image_size=64)
    assert (wide.image_size, wide.tokens) == (64, 65)
    assert torch.equal(wide.model.pos_embed[:, :1], small.model.pos_embed[:, :1])
    assert torch.equal(wide.model.blocks[0].attn.qkv.weight, small.model.blocks[0].attn.qkv.weight)


def test_random_weights_need_a_request_and_are_the_same_each_time():
    trained = backbone.load(EMBEDDED, 10).model.blocks[0].attn.qkv.weight
    drawn = [backbone.load(EMBEDDED, classes, "random").model.blocks[0].attn.qkv.weight for classes in (10, 11)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], trained)
    drawn = [backbone.load(TINY, classes, "random", 32).model.blocks[0].attn.qkv.weight for classes in (10, 11)]
    assert torch.equal(drawn[0], drawn[1])


def test_a_backbone_is_loaded_once_per_process():
    assert backbone.load(EMBEDDED, 10) is backbone.load(EMBEDDED, 10)


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in message(tmp_path / "absent.pt")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\x80\x02}q\x00."[:4]])
def test_an_invalid_file_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert "neither a safetensors file nor a torch file" in message(tmp_path / name)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_code_in_a_pickle_is_refused_and_not_executed(tmp_path):
    torch.save({"weight": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pt")
    assert "save_file" in message(tmp_path / "bomb.pt")  # the remedy
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {}, {"epoch": 3}, {"model": {"a": 1}}])
def test_a_file_without_a_dictionary_of_tensors_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    assert "no dictionary of tensors" in message(tmp_path / "a.pt")


def test_missing_unexpected_and_misshapen_tensors_are_named(tmp_path):
    state = weights()
    del state["norm.weight"]
    state["adapter.weight"] = torch.ones(2)
    state["norm.bias"] = torch.ones(3)
    torch.save(state, tmp_path / "a.pt")
    text = message(tmp_path / "a.pt")
    assert "missing: norm.weight" in text
    assert "unexpected: adapter.weight" in text
    assert "misshapen: norm.bias (3,) instead of (64,)" in text


@pytest.mark.parametrize("name", [TINY, EMBEDDED])
def test_weights_of_another_architecture_are_refused_in_one_short_line(name, tmp_path):
    other = embedded.build(32).state_dict() if name == TINY else weights()
    torch.save(other, tmp_path / "a.pt")
    text = message(tmp_path / "a.pt", name)
    assert "missing: " in text
    assert re.search(r"unexpected: .+ and \d+ more", text)
    assert len(text) < 1000


def test_unrelated_tensors_are_refused(tmp_path):
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "a.pt")
    for name in (TINY, EMBEDDED):
        assert "unexpected: fc.weight" in message(tmp_path / "a.pt", name)


@pytest.mark.parametrize("key", ["pos_embed", "encoder"])
def test_tensor_names_that_timm_treats_specially_are_refused_too(key, tmp_path):
    torch.save({key: torch.ones(7), "fc.weight": torch.ones(2, 2)}, tmp_path / "a.pt")
    assert "unexpected: " in message(tmp_path / "a.pt")


def test_an_unknown_backbone_suggests_the_closest_name():
    with pytest.raises(ConfigError, match=r"unknown backbone 'vit_tiny_patch16_24' .*did you mean 'vit_tiny_patch16_2"):
        backbone.load("vit_tiny_patch16_24", 10)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_base_patch16_siglip_224.webli", "resnet18"])
def test_an_unsuitable_architecture_is_refused_before_any_download(name, monkeypatch):
    create = timm.create_model

    def no_download(*args, pretrained=False, **kwargs):
        assert not pretrained
        return create(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", no_download)
    with pytest.raises(ConfigError, match=f"--backbone {re.escape(name)}: "):
        backbone.load(name, 10)


@pytest.mark.parametrize("error", [OSError("no route to host"), ConnectionError("offline")])
def test_a_failed_download_names_the_checkpoint_option(error, monkeypatch):
    create = timm.create_model

    def offline(*args, pretrained=False, **kwargs):
        if pretrained:
            raise error
        return create(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match=f"{TINY}: its weights cannot be downloaded .*--checkpoint FILE"):
        backbone.load(TINY, 10)


def test_an_unknown_tag_is_not_reported_as_a_failed_download():
    with pytest.raises(ConfigError) as raised:
        backbone.load(f"{TINY}.no_such_tag", 10, "random")
    assert "downloaded" not in str(raised.value)


@pytest.mark.parametrize(("image_size", "patch_size"), [(36, None), (None, 16)])
def test_the_embedded_stem_requires_multiples_of_eight(image_size, patch_size):
    with pytest.raises(ConfigError, match=r"embedded backbone.* of 8"):
        backbone.load(EMBEDDED, 10, None, image_size, patch_size)


@pytest.mark.parametrize(("image_size", "patch_size"), [(30, None), (8, None), (32, 12), (16, 32)])
def test_an_image_that_is_not_a_whole_number_of_patches_is_refused(image_size, patch_size):
    with pytest.raises(ConfigError, match=str(image_size)):
        backbone.load(TINY, 10, "random", image_size, patch_size)


@pytest.mark.skipif(not (REAL_WEIGHTS.exists() and REAL_IMAGES.exists()), reason="needs ../shared/data")
def test_a_real_vit_at_another_size_separates_real_classes():
    vit = backbone.load("vit_tiny_patch16_224", 10, str(REAL_WEIGHTS), 64, 8)
    data = np.load(REAL_IMAGES)

    def features(part, per_class):
        labels = data[f"{part}_y"]
        rows = np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in range(5)])
        samples = Samples(data[f"{part}_x"][rows], labels[rows], vit)
        return samples.features(torch.arange(len(rows))), labels[rows]

    (train, train_y), (test, test_y) = features("train", 30), features("test", 20)
    means = torch.stack([train[train_y == c].mean(0) for c in range(5)])
    correct = torch.cdist(test, means).argmin(1).numpy() == test_y
    assert correct.mean() > 0.5  # five classes: chance is 0.2, random weights reach about 0.3


@pytest.mark.parametrize(
    "state",
    [
        {1: torch.zeros(2)},
        {"model": {(1,): torch.zeros(2), "norm.bias": torch.zeros(2)}},
        {"norm.bias": torch.zeros(2, dtype=torch.complex64)},
        {"norm.bias": torch.zeros(2).to_sparse()},
        {"norm.bias": torch.zeros(2, device="meta")},
    ],
    ids=["integer", "tuple", "complex", "sparse", "without data"],
)
def test_a_torch_file_without_names_or_numbers_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=r"a\.pt (contains no dictionary of tensors by name|is neither)"):
        backbone.load(EMBEDDED, 3, str(tmp_path / "a.pt"))
