import json
from pathlib import Path

import pytest

from fedprompt.benchmark.backbone import pretrain as training
from fedprompt.benchmark.cli import installation as machine
from tests.benchmark.conftest import Bench, refused


# Ray warns of defaults of its own as it is imported.
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray", "ignore:.*:DeprecationWarning:ray")
def test_the_doctor_looks_at_everything_a_run_needs(bench: Bench) -> None:
    said = bench("doctor", "--json")
    rows = {row["name"]: row for row in json.loads(said.out)}
    assert rows.keys() == {"python", "torch", "cuda", "ray", "data", "backbone", "disk"}
    assert said.code == (0 if all(row["ok"] for row in rows.values()) else 1)
    for name in ("python", "torch", "cuda", "ray", "data"):
        assert rows[name]["ok"], rows[name]


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check finds all in order."""
    for name in ("_python", "_torch", "_cuda", "_ray", "_backbone", "_disk"):
        monkeypatch.setattr(machine, name, lambda: "fine")
    monkeypatch.setattr(machine, "_data", lambda root: f"fine {root}")


@pytest.mark.usefixtures("quiet")
def test_a_healthy_machine_is_a_page_of_ok(bench: Bench) -> None:
    said = bench("doctor", "--data-root", "there")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == ["ok"] * 7
    assert "fine there" in said.out


@pytest.mark.usefixtures("quiet")
def test_a_fault_is_named_and_the_examination_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise ImportError("libcudart.so: no such file")

    monkeypatch.setattr(machine, "_torch", broken)
    said = bench("doctor")
    assert said.code == 1
    lines = said.out.splitlines()
    assert len(lines) == 7
    assert lines[1].split(maxsplit=2) == ["FAULT", "torch", "ImportError: libcudart.so: no such file"]


def test_weights_that_are_not_those_of_their_card_are_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fedprompt.benchmark.backbone import weights

    card = tmp_path / "w.md"
    card.write_text("sha256 0123")
    monkeypatch.setattr(weights, "EMBEDDED_WEIGHTS", tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"other")
    row = machine._examined("backbone", machine._backbone)
    assert not row["ok"]
    assert "model card" in str(row["says"])


def test_pretraining_is_handed_what_was_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[object, ...]] = []

    def pretrain(*arguments: object) -> dict[str, object]:
        asked.append(arguments)
        return {"weights": "w.safetensors", "bytes": 12, "sha256": "abc"}

    monkeypatch.setattr(training, "pretrain", pretrain)
    (tmp_path / "source").mkdir()
    (tmp_path / "probe.npz").touch()
    said = bench("pretrain", "--data", "source", "--work", "w", "--epochs", 2, "--seed", 1, "--probe", "probe.npz")
    assert said.code == 0
    assert asked == [(Path("source"), Path("w"), 2, 1, Path("probe.npz"))]
    assert said.out.split() == ["w/w.safetensors:", "12", "bytes,", "sha256", "abc"]


def test_pretraining_on_nothing_is_refused(bench: Bench, tmp_path: Path) -> None:
    refused(bench("pretrain", "--data", "absent"), "absent")
    (tmp_path / "source").mkdir()
    refused(bench("pretrain", "--data", "source", "--probe", "absent.npz"), "absent.npz")
    refused(bench("pretrain"), "--data")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_pretraining_on_something_else_leaves_no_folder_behind(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    refused(bench("pretrain", "--data", "source"), "has 0 classes")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
