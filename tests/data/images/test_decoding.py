import re

import numpy as np
import pytest
from PIL import Image

from fedprompt.data.errors import DataError
from fedprompt.data.images.decoding import ImageFiles, decode, train_test_files
from tests.data.made import image


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [("RGB", (9, 8, 7), (9, 8, 7)), ("L", 77, (77,) * 3), ("RGBA", (9, 8, 7, 0), (9, 8, 7)), ("1", 1, (255,) * 3)],
)
def test_every_8_bit_image_becomes_three_channels(tmp_path, mode, colour, expected):
    array = decode(image(tmp_path / "a.png", colour, (5, 4), mode))
    assert array.shape == (4, 5, 3)
    assert array.dtype == np.uint8
    assert (array == expected).all()


def test_a_palette_with_a_transparent_colour_keeps_its_colours(tmp_path):
    picture = Image.new("P", (2, 2), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "a.png", transparency=b"\x00\x80")
    assert (decode(tmp_path / "a.png") == (10, 20, 30)).all()


def halves(path):
    """40 x 20 pixels: the left quarter and the right one white, the middle black."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :10] = pixels[:, 30:] = 255
    Image.fromarray(pixels).save(path)
    return path


def test_stretching_keeps_the_sides_and_cropping_the_centre(tmp_path):
    path = halves(tmp_path / "a.png")
    stretched, cropped = decode(path, 20), decode(path, 20, "crop")
    assert stretched.shape == cropped.shape == (20, 20, 3)
    assert (stretched[:, 1] > 250).all()
    assert (stretched[:, 10] < 5).all()
    assert (cropped < 5).all()


def test_an_image_of_the_right_size_is_unchanged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", 16) == pixels).all()


def test_a_large_image_is_resized_with_antialiasing(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[::2] = 255  # stripes of one pixel: without antialiasing the small image would be black or white
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.abs(decode(tmp_path / "a.png", 8)[2:-2].astype(int) - 128).max() < 10


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "unknown format"), (b"no image", "unknown format"), (None, "file not found")]
)
def test_a_file_that_is_not_an_image_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{path} is not a readable image: {reason}")):
        decode(path)


def test_a_truncated_image_is_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.jpg is not a readable image: .*truncated"):
        decode(tmp_path / "a.jpg")


def test_a_16_bit_image_is_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.full((4, 4), 300, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="is not an 8-bit image"):
        decode(tmp_path / "a.png")


def test_training_and_test_files_are_views_of_one_collection(tmp_path):
    for i in range(5):
        image(tmp_path / f"{i}.png", (i, i, i), (3, 2 + i))
    train, test = train_test_files(tmp_path, ["0.png", "1.png", "2.png"], ["3.png", "4.png"], "toy", "v1")
    assert (len(train), len(test)) == (3, 2)
    assert test.paths == ["3.png", "4.png"]
    assert test[1].shape == (6, 3, 3)
    assert (test[np.int64(0)] == 3).all()
    assert train.whole is test.whole
    assert isinstance(train.whole, ImageFiles)
    with pytest.raises(IndexError):
        test[2]


@pytest.mark.parametrize("kind", ["EPS", "ICNS", "PCX", "TGA"])
def test_a_format_that_is_not_listed_is_refused_whatever_the_file_is_called(tmp_path, kind):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg", kind)
    with pytest.raises(DataError, match="unknown format; need JPEG, PNG, BMP, WEBP, TIFF, GIF or PPM"):
        decode(tmp_path / "a.jpg")
