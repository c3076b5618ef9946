"""`bench perf`. The measurements are tested in profiling."""

import json

import pytest

from fedprompt.benchmark.gpu_check import check_all
from fedprompt.benchmark.profiling import throughput as perf
from fedprompt.benchmark.profiling import whole_runs as perf_runs
from fedprompt.benchmark.profiling.whole_runs import CacheGain, Scale
from tests.benchmark.conftest import refused
from tests.benchmark.profiling.test_throughput_plots import example


def test_throughput_is_printed_and_saved_as_json_table_and_plot(bench, monkeypatch, tmp_path):
    calls: list[tuple[object, ...]] = []

    def measure(vit, batches, cohorts, repeats):
        calls.append((vit.precision, batches, cohorts, repeats))
        return example()

    monkeypatch.setattr(perf, "measure", measure)
    answer = bench(
        "perf", "--batches", "8,16,8", "--cohorts", "2", "--repeats", 1, "--precision", "bf16", "--save", "s"
    )
    assert calls == [("bf16", [8, 16], [2], 1)]
    assert "| 8 | 100 | 150 | 80 |" in answer.out
    name = "bench_vit_patch8_32-cpu-bf16"
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        f"{name}.{end}" for end in ("json", "md", "png")
    ]
    assert json.loads((tmp_path / "s" / f"{name}.json").read_text())["limit"] == 400


def test_cache_and_scale_are_selected_by_name(bench, monkeypatch):
    monkeypatch.setattr(perf_runs, "cache_gain", lambda: CacheGain("head", 60, first=2.0, next=0.5, forgetful=20.0))
    text = "2.00 s with empty caches, 10.0 times faster; 0.50 s with filled caches, 40.0 times faster"
    assert text in bench("perf", "--what", "cache").out
    monkeypatch.setattr(
        perf_runs, "scale", lambda methods, clients: [Scale(m, n, 0.5, 1, 900, 8) for m in methods for n in clients]
    )
    rows = json.loads(bench("perf", "--what", "scale", "--clients", "10,100", "--json").out)
    assert [(row["method"], row["clients"]) for row in rows] == [
        ("fedvpt", 10),
        ("fedvpt", 100),
        ("fedper", 10),
        ("fedper", 100),
    ]


def test_overhead_of_a_sweep_is_a_share(bench, monkeypatch):
    loss = perf_runs.SweepLoss(runs=60, workers=2, lost=0.034, wall=70.0, inside=100.0)
    monkeypatch.setattr(perf_runs, "sweep_loss", lambda: loss)
    answer = bench("perf", "--what", "sweep").out
    assert "3.4% overhead per worker" in answer
    assert "70.0 s in total, 50.0 s of runs per worker" in answer


@pytest.mark.parametrize("words", [("--batches", "0"), ("--cohorts", "a"), ("--batches", ""), ("--what", "fun")])
def test_invalid_measurement_is_refused(bench, words):
    refused(bench("perf", *words), words[0])


def test_missing_gpu_is_named(bench):
    refused(bench("perf", "--device", "cuda"), "--device cuda", "--device cpu")


def test_unwritable_folder_is_named(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(perf_runs, "cache_gain", lambda: CacheGain("head", 60, 2.0, 0.5, 20.0))
    (tmp_path / "file").touch()
    answer = bench("perf", "--what", "cache", "--save", "file")
    assert answer.code == 2
    assert "--save file" in answer.err


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "tpu"])
def test_a_gpu_check_without_that_gpu_is_refused(bench, device):
    refused(bench("gpu-check", "--device", device), f"--device {device}", "cpu")


def test_a_gpu_check_prints_a_table_and_fails_if_a_check_finds_a_fault(bench, monkeypatch):
    answer = {"question": "q", "measured": "1", "wanted": "2", "ok": False}
    checks = {"device": {"status": "done", "report": {"answers": [answer]}}}
    monkeypatch.setattr(check_all, "check_all", lambda *_: checks)
    given = bench("gpu-check", "--device", "cpu", "--small")
    assert (given.code, given.out) == (1, "FAULT  device          q: 1  (wanted: 2)\n")
    answer["ok"] = True
    assert json.loads(bench.ok("gpu-check", "--device", "cpu", "--json").out) == checks


def test_a_backbone_with_rotary_positions_is_refused_in_one_line(bench):
    answer = bench("perf", "--backbone", "eva02_tiny_patch14_224", "--image-size", 28)
    refused(answer, "eva02_tiny_patch14_224", "bench perf, which compares with timm's own blocks")
