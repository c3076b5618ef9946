"""Pre-training on a generated Tiny-ImageNet with one image per class."""

import hashlib
import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.backbone import pretrain
from fedprompt.benchmark.backbone.pretrain import normalise, probe, shift_and_flip, tiny_imagenet, vary_appearance
from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.errors import ConfigError

CLASSES = [f"n{1000 + c:08d}" for c in range(200)]
VALIDATION = [CLASSES[3], CLASSES[0], "n99999998", CLASSES[199], "n99999999"]  # two classes without training images


def colour(c):
    return (c, 255 - c, (7 * c) % 256)


def save(path, c, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), colour(c)).convert(mode).save(path, "JPEG", quality=95)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """`tiny-imagenet-200` with one uniform image per class; class 7 is stored as a grey image."""
    root = tmp_path_factory.mktemp("source") / "tiny-imagenet-200"
    for c, name in enumerate(CLASSES):
        save(root / "train" / name / "images" / f"{name}_0.JPEG", c, "L" if c == 7 else "RGB")
        (root / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t63\t63\n")
    for k in range(len(VALIDATION)):
        save(root / "val" / "images" / f"val_{k}.JPEG", 10 * k)
    lines = [f"val_{k}.JPEG\t{name}\t0\t0\t63\t63\n" for k, name in enumerate(VALIDATION)]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    save(root / "test" / "images" / "test_0.JPEG", 99)
    (root / "wnids.txt").write_text("\n".join(CLASSES))
    return root


@pytest.fixture(scope="session")
def decoded(folder):
    return tiny_imagenet(folder)


def test_images_are_reduced_to_32_pixels_and_classes_numbered_by_name(decoded):
    assert decoded["train_x"].shape == (200, 32, 32, 3)
    assert decoded["train_x"].dtype == np.uint8
    assert decoded["train_y"].tolist() == list(range(200))
    for c in (0, 100, 199):
        assert np.abs(decoded["train_x"][c].astype(int) - colour(c)).max() <= 3  # JPEG changes colours slightly


def test_a_grey_image_has_three_equal_channels(decoded):
    assert np.ptp(decoded["train_x"][7].astype(int), axis=-1).max() == 0


def test_validation_images_of_classes_without_training_images_are_skipped(decoded):
    assert decoded["val_y"].tolist() == [3, 0, 199]
    for image, k in zip(decoded["val_x"], (0, 1, 3), strict=True):
        assert np.abs(image.astype(int) - colour(10 * k)).max() <= 3


@pytest.mark.parametrize(("mode", "prefix"), [("w", ""), ("w:gz", ""), ("w:xz", ""), ("w", "./")])
def test_an_archive_and_its_folder_give_the_same_arrays(mode, prefix, folder, decoded, tmp_path):
    with tarfile.open(tmp_path / "tiny.tar", mode) as archive:
        archive.add(folder, f"{prefix}tiny-imagenet-200")
    result = tiny_imagenet(tmp_path / "tiny.tar")
    assert result.keys() == decoded.keys()
    for name, array in decoded.items():
        assert np.array_equal(result[name], array)
        assert result[name].dtype == array.dtype


def test_a_folder_without_tiny_imagenet_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has 0 classes, Tiny-ImageNet has 200"):
        tiny_imagenet(tmp_path)


def test_an_incomplete_set_of_classes_is_refused(folder, tmp_path):
    (tmp_path / "train").mkdir()
    for name in CLASSES[:5]:
        (tmp_path / "train" / name).symlink_to(folder / "train" / name)
        save(tmp_path / "train" / f"{name}_0.JPEG", 0)
    with pytest.raises(ConfigError, match="has 5 classes, Tiny-ImageNet has 200"):
        tiny_imagenet(tmp_path)


def test_a_zip_archive_is_refused_by_name(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as archive:
        archive.write(folder / "wnids.txt", "tiny-imagenet-200/wnids.txt")
    with pytest.raises(ConfigError, match=r"tiny-imagenet-200\.zip"):
        tiny_imagenet(tmp_path / "tiny-imagenet-200.zip")


@pytest.fixture
def brief(monkeypatch):
    """Four steps per epoch of 200 images, one of them warm-up."""
    monkeypatch.setattr(pretrain, "BATCH", 50)
    monkeypatch.setattr(pretrain, "WARM_UP", 1)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.usefixtures("brief")
def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(folder, tmp_path, monkeypatch, capsys):
    whole = pretrain.pretrain(folder, tmp_path / "whole", epochs=2)
    epoch, calls = pretrain.train_epoch, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return epoch(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(pretrain, "train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain.pretrain(folder, tmp_path / "parts", epochs=2)
    assert not list((tmp_path / "parts").glob("*.safetensors"))
    monkeypatch.setattr(pretrain, "tiny_imagenet", None)  # decoded images are not decoded again
    parts = pretrain.pretrain(folder, tmp_path / "parts", epochs=2)
    assert whole["sha256"] == parts["sha256"] == sha256(tmp_path / "parts" / str(parts["weights"]))
    losses = [[row["loss"] for row in result["history"]] for result in (whole, parts)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2

    vit = backbone.load(EMBEDDED, 10, str(tmp_path / "whole" / str(whole["weights"])))
    result = Samples(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1), vit).features(torch.tensor([0]))
    assert bool(torch.isfinite(result).all())
    measured = json.loads((tmp_path / "whole" / "measured.json").read_text())
    assert measured["sha256"] == whole["sha256"]
    assert measured["parameters"] == sum(weight.numel() for weight in vit.model.parameters())
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["epoch"] for row in printed] == [1, 2, 1, 2]


@pytest.mark.usefixtures("brief")
def test_the_seed_determines_the_weights(folder, tmp_path):
    digests = {pretrain.pretrain(folder, tmp_path, epochs=1, seed=seed)["sha256"] for seed in (0, 1)}
    assert len(digests) == 2


def test_normalised_pixels_range_from_minus_one_to_one():
    images = np.array([[[[0, 255, 51]]]], np.uint8)
    torch.testing.assert_close(normalise(images), torch.tensor([-1.0, 1.0, -0.6]).view(1, 3, 1, 1))


def test_an_image_is_shifted_by_at_most_four_pixels_and_sometimes_mirrored():
    image = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3) % 251
    images = np.repeat(image[None].astype(np.uint8), 60, axis=0)
    result = shift_and_flip(images, np.random.default_rng(0))
    assert result.shape == images.shape
    padded = np.pad(images[0], ((4, 4), (4, 4), (0, 0)), mode="reflect")
    crops = {padded[t : t + 32, s : s + 32].tobytes(): (t, s, False) for t in range(9) for s in range(9)}
    crops |= {padded[t : t + 32, s : s + 32][:, ::-1].tobytes(): (t, s, True) for t in range(9) for s in range(9)}
    kinds = [crops[one.tobytes()] for one in result]
    assert {flip for _, _, flip in kinds} == {True, False}
    assert len({(t, s) for t, s, _ in kinds}) > 20


def test_varied_images_stay_in_range_and_depend_only_on_the_generator():
    images = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, again = (vary_appearance(images.clone(), np.random.default_rng(3)) for _ in range(2))
    assert first.shape == images.shape
    assert first.abs().max() <= 1
    assert torch.equal(first, again)
    grey = (first - first.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-6
    assert 4 <= int(grey.sum()) <= 20  # 0.3 of 40


def test_the_probe_separates_two_colours(tmp_path):
    labels = np.arange(40) % 2
    images = np.where(labels[:, None, None, None], 220, 30).astype(np.uint8) * np.ones((1, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "two.npz", train_x=images, train_y=labels, test_x=images, test_y=labels)
    model = backbone.load(EMBEDDED, 2).model
    assert probe(model, tmp_path / "two.npz", train=20, test=20) == 1.0
    np.savez(tmp_path / "none.npz", train_x=images, train_y=labels, test_x=images, test_y=1 - labels)
    assert probe(model, tmp_path / "none.npz", train=20, test=20) == 0.0
