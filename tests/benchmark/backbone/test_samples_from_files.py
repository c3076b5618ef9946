import numpy as np
import pytest
import torch
from PIL import Image

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.images.decoding import train_test_files
from tests.toy import vit


def write_images(root):
    """Writes six square images of noise to `root` and returns them."""
    size = vit().image_size
    images = np.random.default_rng(0).integers(0, 256, (6, size, size, 3), dtype=np.uint8)
    root.mkdir(exist_ok=True)
    for i, pixels in enumerate(images):
        Image.fromarray(pixels).save(root / f"{i}.png")
    return images


def test_files_and_arrays_give_the_same_pixels(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    images = write_images(tmp_path / "images")
    train, test = train_test_files(tmp_path / "images", [f"{i}.png" for i in range(4)], ["4.png", "5.png"], "toy", "v1")
    rows = torch.tensor([3, 0, 3])
    for files, part in ((train, images[:4]), (test, images[4:])):
        from_files = Samples(files, np.zeros(len(part)), vit())
        from_array = Samples(part, np.zeros(len(part)), vit())
        chosen = rows % len(part)
        assert torch.equal(from_files.pixels(chosen), from_array.pixels(chosen))
        assert torch.equal(from_files.features(chosen), from_array.features(chosen))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("none", 0.2), ("half", (0.2 - 0.5) / 0.5), ("imagenet", (0.2 - 0.485) / 0.229), ("backbone", None)],
)
def test_images_are_normalised_as_requested(name, expected):
    size = vit().image_size
    pixels = Samples(np.full((1, size, size, 3), 51, np.uint8), np.zeros(1), vit(), name).pixels(torch.tensor([0]))
    wanted = (0.2 - vit().mean[0]) / vit().std[0] if expected is None else expected
    torch.testing.assert_close(pixels[0, 0], torch.full((size, size), wanted))


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ConfigError, match="--normalize zscore: unknown; available: backbone, imagenet, half, none"):
        Samples(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1), vit(), "zscore")
