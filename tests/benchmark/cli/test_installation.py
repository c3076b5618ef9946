import json
from pathlib import Path
from unittest.mock import Mock

import pytest

from fedprompt.benchmark.backbone import pretrain as training
from fedprompt.benchmark.cli import installation as machine
from tests.benchmark.conftest import refused


# Importing Ray emits warnings about its own defaults.
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray", "ignore:.*:DeprecationWarning:ray")
def test_doctor_checks_everything_that_a_run_needs(bench):
    answer = bench("doctor", "--json")
    rows = {row["name"]: row for row in json.loads(answer.out)}
    assert rows.keys() == {"python", "torch", "cuda", "ray", "data", "backbone", "disk"}
    assert answer.code == (0 if all(row["ok"] for row in rows.values()) else 1)
    for name in ("python", "torch", "cuda", "ray", "data"):
        assert rows[name]["ok"], rows[name]


@pytest.fixture
def healthy(monkeypatch):
    """Every check succeeds."""
    for name in ("_python", "_torch", "_cuda", "_ray", "_backbone", "_disk"):
        monkeypatch.setattr(machine, name, lambda: "fine")
    monkeypatch.setattr(machine, "_data", lambda root: f"fine {root}")


@pytest.mark.usefixtures("healthy")
def test_doctor_prints_ok_for_every_check_of_a_healthy_machine(bench):
    answer = bench.ok("doctor", "--data-root", "there")
    assert [line.split()[0] for line in answer.out.splitlines()] == ["ok"] * 7
    assert "fine there" in answer.out


@pytest.mark.usefixtures("healthy")
def test_doctor_reports_a_fault_and_continues(bench, monkeypatch):
    monkeypatch.setattr(machine, "_torch", Mock(side_effect=ImportError("libcudart.so: no such file")))
    answer = bench("doctor")
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert len(lines) == 7
    assert lines[1].split(maxsplit=2) == ["FAULT", "torch", "ImportError: libcudart.so: no such file"]


def test_weights_that_do_not_match_their_model_card_are_a_fault(monkeypatch, tmp_path):
    from fedprompt.benchmark.backbone import weights

    card = tmp_path / "w.md"
    card.write_text("sha256 0123")
    monkeypatch.setattr(weights, "EMBEDDED_WEIGHTS", tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"other")
    row = machine._check("backbone", machine._backbone)
    assert not row["ok"]
    assert "model card" in str(row["says"])


def test_pretrain_passes_its_options_on(bench, monkeypatch, tmp_path):
    calls: list[tuple[object, ...]] = []

    def pretrain(*arguments):
        calls.append(arguments)
        return {"weights": "w.safetensors", "bytes": 12, "sha256": "abc"}

    monkeypatch.setattr(training, "pretrain", pretrain)
    (tmp_path / "source").mkdir()
    (tmp_path / "probe.npz").touch()
    answer = bench.ok("pretrain", "--data", "source", "--work", "w", "--epochs", 2, "--seed", 1, "--probe", "probe.npz")
    assert calls == [(Path("source"), Path("w"), 2, 1, Path("probe.npz"))]
    assert answer.out.split() == ["w/w.safetensors:", "12", "bytes,", "sha256", "abc"]


def test_pretrain_names_missing_files(bench, tmp_path):
    refused(bench("pretrain", "--data", "absent"), "absent")
    (tmp_path / "source").mkdir()
    refused(bench("pretrain", "--data", "source", "--probe", "absent.npz"), "absent.npz")
    refused(bench("pretrain"), "--data")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_pretrain_on_other_data_leaves_no_folder_behind(bench, tmp_path):
    (tmp_path / "source").mkdir()
    refused(bench("pretrain", "--data", "source"), "has 0 classes")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
