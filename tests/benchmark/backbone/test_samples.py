import numpy as np
import pytest
import torch
from PIL import Image

from fedprompt.benchmark.backbone import activations
from fedprompt.benchmark.backbone import samples as module
from fedprompt.benchmark.backbone.samples import Samples
from tests import toy


def noise(count, height, width):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def samples(images, vit=None):
    return Samples(images, np.zeros(len(images), np.int64), vit or toy.vit())


def test_images_of_the_right_size_are_unchanged():
    images = noise(3, 16, 16)
    assert np.array_equal(samples(images).images.numpy(), images)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (40, 40), (10, 24)])
def test_other_sizes_are_stretched_to_a_square_as_by_pillow(height, width):
    images = noise(2, height, width)
    resized = samples(images).images.numpy().astype(int)
    assert resized.shape == (2, 16, 16, 3)
    expected = [np.asarray(Image.fromarray(i).resize((16, 16), Image.Resampling.BICUBIC)) for i in images]
    assert np.abs(resized - np.stack(expected).astype(int)).max() <= 1


def test_resizing_in_chunks_changes_nothing(monkeypatch):
    whole = samples(noise(10, 8, 8)).images
    monkeypatch.setattr(module, "CHUNK", 3)
    assert torch.equal(samples(noise(10, 8, 8)).images, whole)


def test_images_in_another_memory_order_are_read_correctly():
    images = noise(3, 8, 8)
    assert torch.equal(samples(images[::-1]).images, samples(images[::-1].copy()).images)


def test_pixels_are_normalised_with_the_backbones_mean_and_standard_deviation():
    vit = toy.fresh_vit()
    vit.mean, vit.std = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)
    images = np.broadcast_to(np.array([0, 255, 51], np.uint8), (1, 16, 16, 3)).copy()
    pixels = samples(images, vit).pixels(torch.tensor([0]))
    assert pixels.shape == (1, 3, 16, 16)
    torch.testing.assert_close(pixels[0, :, 3, 5], torch.tensor([-1.0, 3.0, 0.2]))


@pytest.mark.parametrize("limit", [0, 10**9])
def test_tokens_and_features_belong_to_the_requested_rows(limit, monkeypatch):
    monkeypatch.setattr(activations, "cache_limit", lambda: 4 * limit)
    monkeypatch.setattr(activations, "CHUNK", 4)
    split = samples(noise(10, 16, 16))
    rows = torch.tensor([7, 0, 7, 3])
    with torch.no_grad():
        expected = torch.cat([toy.vit().tokens_of(split.pixels(row.view(1))) for row in rows])
        feature = toy.vit().encode(expected)
    torch.testing.assert_close(split.tokens(rows), expected)
    torch.testing.assert_close(split.features(rows), feature)


def counted(monkeypatch, limit):
    vit, seen = toy.fresh_vit(), []
    original = vit.tokens_of
    monkeypatch.setattr(vit, "tokens_of", lambda x: (seen.append(len(x)), original(x))[1])
    monkeypatch.setattr(activations, "cache_limit", lambda: 4 * limit)  # one array may take a quarter
    return samples(noise(10, 16, 16), vit), seen


@pytest.mark.parametrize(("missing", "expected"), [(0, [10]), (1, [1, 2])])
def test_tokens_are_computed_once_if_they_fit_and_else_on_each_request(missing, expected, monkeypatch):
    split, seen = counted(monkeypatch, 10 * 17 * 24 * 4 - missing)  # images x tokens x width x bytes
    for rows in ([1], [2, 3]):
        split.tokens(torch.tensor(rows))
    assert seen == expected
    split.features(torch.tensor([3]))  # reads cached tokens
    assert (seen == expected) == (not missing)


def test_features_are_cached_even_where_tokens_do_not_fit(monkeypatch):
    split, seen = counted(monkeypatch, 10 * 24 * 4)  # images x width x bytes
    for row in (1, 2):
        split.features(torch.tensor([row]))
    assert sum(seen) == 10


@pytest.mark.parametrize(
    ("reads", "seen"),
    [
        (5, [10]),  # half of the split: all of it
        (3, [3]),  # as many as the three rows: these
        (2, [2, 1]),  # fewer: nothing is kept
    ],
)
def test_a_run_that_reads_few_rows_of_a_split_computes_these_only_and_once(reads, seen, monkeypatch):
    split, passes = counted(monkeypatch, 10 * 24 * 4)
    split.expect(reads, np.array([7, 2, 5, 2]))
    with torch.no_grad():
        expected = split.vit.encode(split.vit.tokens_of(split.pixels(torch.tensor([5, 2]))))
    passes.clear()
    torch.testing.assert_close(split.features(torch.tensor([5, 2])), expected)
    split.features(torch.tensor([7]))
    assert passes == seen


def test_rows_that_were_not_announced_are_computed_on_request(monkeypatch):
    split, passes = counted(monkeypatch, 10 * 24 * 4)
    split.expect(4, np.array([7, 2, 5]))
    both = split.features(torch.tensor([2, 9]))
    assert passes == [2]
    assert not torch.equal(both[0], both[1])
    torch.testing.assert_close(split.features(torch.tensor([2])), both[:1])


def test_a_run_that_announces_no_row_can_read_any(monkeypatch):
    split, passes = counted(monkeypatch, 10 * 24 * 4)
    split.expect(0, np.array([], dtype=int))
    both = split.features(torch.tensor([2, 9]))
    assert passes == [2]
    with torch.no_grad():
        expected = split.vit.encode(split.vit.tokens_of(split.pixels(torch.tensor([2, 9]))))
    torch.testing.assert_close(both, expected)


def test_the_rows_of_the_next_run_replace_those_of_the_last(monkeypatch):
    split, passes = counted(monkeypatch, 10 * 24 * 4)
    for rows in ([7, 2, 5], [5, 7, 2], [2, 3]):
        split.expect(4, np.array(rows))
        split.features(torch.tensor(rows[:1]))
    assert passes == [3, 2]  # the same rows in another order are the same rows
    split.expect(10, np.array([2, 3]))
    assert len(split.features(torch.arange(10))) == 10
    assert passes == [3, 2, 10]


def test_cached_tokens_of_announced_rows_serve_features(monkeypatch):
    split, passes = counted(monkeypatch, 10 * 17 * 24 * 4)
    split.expect(4, np.array([7, 2, 5]))
    split.tokens(torch.tensor([7]))
    feature = split.features(torch.tensor([5]))
    assert passes == [3]
    torch.testing.assert_close(feature, split.vit.encode(split.vit.tokens_of(split.pixels(torch.tensor([5])))))


def test_frozen_activations_have_no_gradient():
    split = samples(noise(2, 16, 16))
    rows = torch.tensor([0, 1])
    assert not split.tokens(rows).requires_grad
    assert not split.features(rows).requires_grad


def test_tokens_entering_a_layer_are_the_output_of_the_layers_before():
    split, rows, vit = samples(noise(10, 16, 16)), torch.tensor([7, 0, 7]), toy.vit()
    with torch.no_grad():
        x = vit.tokens_of(split.pixels(rows))
        for layer in (2, 4):
            x_layer = x
            for block in vit.model.blocks[: layer - 1]:
                x_layer = block(x_layer)
            torch.testing.assert_close(split.tokens(rows, layer), x_layer)
            torch.testing.assert_close(split.features(rows, layer), x_layer[:, 0])
        torch.testing.assert_close(split.features(rows), vit.encode(x))


def test_large_resized_images_are_mapped_from_one_file(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    images, labels = noise(10, 8, 8), np.zeros(10, np.int64)
    whole = Samples(images, labels, toy.vit(), identity="noise").images
    assert not (tmp_path / "resized").exists()
    monkeypatch.setattr(module, "MAX_IN_MEMORY", 10 * 16 * 16 * 3 - 1)
    for _ in range(2):
        assert torch.equal(Samples(images, labels, toy.vit(), identity="noise").images, whole)
    assert len(list((tmp_path / "resized").glob("*.npy"))) == 1
    Samples(images, labels, toy.vit()).pixels(torch.tensor([0]))  # no identity: in memory only
    assert len(list((tmp_path / "resized").glob("*.npy"))) == 1
