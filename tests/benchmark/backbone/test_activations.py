"""Frozen activations are computed once per machine; `vit.layers_run` shows whether the backbone ran."""

import multiprocessing
import os

import pytest
import torch

from fedprompt.benchmark.backbone import activations
from fedprompt.benchmark.backbone import samples as module
from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.errors import ConfigError
from tests import toy

ALL = torch.arange(60)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Sets up an empty cache and returns its folder of activations."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("BENCH_CACHE_GB", raising=False)
    return tmp_path / "activations"


def split(vit, normalize="backbone", identity="toy:train"):
    return Samples(toy.dataset().train_x, toy.dataset().train_y, vit, normalize, identity)


def named(identity="toy of seed 0"):
    return toy.fresh_vit(identity=identity)


def arrays(cache):
    return sorted(cache.glob("*.npy"))


def test_a_second_reader_of_a_split_does_not_run_the_backbone(cache):
    first, second = named(), named()
    tokens, features = (getattr(split(first), what)(ALL) for what in ("tokens", "features"))
    assert first.layers_run == 60 * first.depth
    again = split(second)
    assert torch.equal(again.tokens(ALL), tokens)
    assert torch.equal(again.features(ALL), features)
    assert second.layers_run == 0
    assert len(arrays(cache)) == 2


def read_in_process(folder, results):
    os.environ["BENCH_CACHE"] = folder
    torch.set_num_threads(1)
    vit = named()
    results.put((split(vit).features(ALL).tolist(), vit.layers_run))


def test_another_process_does_not_run_the_backbone(cache):
    features = split(named()).features(ALL)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    worker = context.Process(target=read_in_process, args=(str(cache.parent), results))
    worker.start()
    values, layers = results.get(timeout=120)
    worker.join()
    assert values == features.tolist()
    assert layers == 0


def test_cls_tokens_are_cached_per_layer(cache):
    vit = named()
    for _ in range(2):
        again = split(vit)
        for layer in (2, 3):
            torch.testing.assert_close(
                again.features(ALL, layer), vit.layers(vit.tokens_of(again.pixels(ALL)), 1, layer - 1)[:, 0]
            )
    assert len(arrays(cache)) == 2


@pytest.mark.parametrize("change", ["backbone", "normalization", "kernels", "split"])
def test_a_change_of_anything_activations_depend_on_makes_another_file(cache, change, monkeypatch):
    split(named()).features(ALL)
    if change == "kernels":
        monkeypatch.setattr(module, "kernels", lambda _: "torch 9.9 cpu OTHER")
    other = named("another" if change == "backbone" else "toy of seed 0")
    normalize = "imagenet" if change == "normalization" else "backbone"
    split(other, normalize, "toy:test" if change == "split" else "toy:train").features(ALL)
    assert other.layers_run == 60 * other.depth
    assert len(arrays(cache)) == 2


@pytest.mark.parametrize("which", ["backbone", "split"])
def test_without_an_identity_nothing_is_written_to_disk(cache, which):
    vit = named(None if which == "backbone" else "toy of seed 0")
    samples = split(vit, identity=None if which == "split" else "toy:train")
    for _ in range(2):
        samples.features(ALL)
    assert vit.layers_run == 60 * vit.depth
    assert not arrays(cache)


@pytest.mark.parametrize("what", ["tokens", "features"])
def test_the_number_of_threads_changes_no_bit(cache, what, tmp_path, monkeypatch):
    monkeypatch.setattr(activations, "CHUNK", 7)
    values = []
    for threads in (1, 3):
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / str(threads)))
        monkeypatch.setattr(module, "processors", lambda threads=threads: threads)
        vit = named()
        values.append(getattr(split(vit), what)(ALL))
        assert vit.layers_run == (60 * vit.depth if what == "features" else 0)
    assert torch.equal(*values)


def make(name, images=10):
    """Caches activations of 25 values per image, each equal to the row number."""
    return activations.load_or_compute(name, (images, 25), lambda rows: rows.view(-1, 1).expand(-1, 25).double(), 1)


def test_cached_rows_are_fp32_and_in_order(cache, monkeypatch):
    monkeypatch.setattr(activations, "CHUNK", 4)
    values = make("a")
    assert values.dtype == torch.float32
    assert values[:, 24].tolist() == list(range(10))


def test_the_limit_is_eight_gigabytes_by_default(monkeypatch):
    monkeypatch.delenv("BENCH_CACHE_GB", raising=False)
    assert activations.cache_limit() == 8 * 10**9
    monkeypatch.setenv("BENCH_CACHE_GB", "0.5")
    assert activations.cache_limit() == 5 * 10**8


def test_above_the_limit_the_least_recently_used_arrays_are_deleted(cache, monkeypatch):
    for age, name in ((300, "a"), (200, "b"), (100, "c")):
        before = set(arrays(cache))
        make(name)
        (path,) = set(arrays(cache)) - before
        moment = path.stat().st_mtime - age
        os.utime(path, (moment, moment))
    size = sum(path.stat().st_size for path in arrays(cache))
    make("a")  # used again: b is now the oldest
    oldest = min(arrays(cache), key=lambda path: path.stat().st_mtime)
    monkeypatch.setenv("BENCH_CACHE_GB", str((size + 500) / 1e9))
    ran: list[str] = []

    def request(name):
        activations.load_or_compute(name, (10, 25), lambda rows: (ran.append(name), torch.zeros(len(rows), 25))[1], 1)

    request("d")
    assert not oldest.exists()
    assert not oldest.with_suffix(".json").exists()
    assert len(arrays(cache)) == 3
    request("a")
    request("c")
    assert ran == ["d"]
    request("b")
    assert ran == ["d", "b"]


def test_a_mapping_stays_valid_after_its_file_is_deleted(cache, monkeypatch):
    first = make("a")
    monkeypatch.setenv("BENCH_CACHE_GB", "0.000001")
    make("b")
    assert len(arrays(cache)) == 1
    assert first[:, 0].tolist() == list(range(10))


@pytest.mark.parametrize("room", [0, 1])
def test_tokens_above_their_share_of_the_limit_are_not_cached(cache, room, monkeypatch):
    """60 images of 17 tokens of width 24 in fp32 may take a quarter of the limit."""
    monkeypatch.setenv("BENCH_CACHE_GB", repr((4 * 60 * 17 * 24 * 4 + 4 * (room - 1)) / 1e9))
    vit = named()
    samples = split(vit)
    seen: list[int] = []
    original = vit.tokens_of
    monkeypatch.setattr(vit, "tokens_of", lambda x: (seen.append(len(x)), original(x))[1])
    for rows in ([3], [4, 5]):
        assert samples.tokens(torch.tensor(rows)).shape == (len(rows), 17, 24)
    assert seen == ([60] if room else [1, 2])
    assert len(arrays(cache)) == room


@pytest.mark.parametrize("text", ["much", "inf"])
def test_a_limit_that_is_not_a_number_is_refused(text, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_GB", text)
    with pytest.raises(ConfigError, match=f"BENCH_CACHE_GB={text}: need a number"):
        activations.cache_limit()
