"""Files of `--keep-model`, and what is said of those that are missing, damaged or not what they claim to be."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save

from fedprompt.results import RecordError, load, model
from fedprompt.results.records import models

TENSORS = {
    "server/prompt": np.arange(6, dtype=np.float32).reshape(2, 3),
    "server/head.bias": np.array([1, 2], np.int64),
    "optimiser/0/prompt": np.zeros(3),
    "local/1/gate": np.array([0.25], np.float32),
    "local/10/gate": np.array([0.75], np.float32),
    "standardize/mean": np.ones(3, np.float32),
}
ABSENT = "absent"
HEADER = {"run_id": "b" * 16, "kept": "all", "clients": {"local": [10, 1], "optimiser_local": []}}


def record(**more):
    names = {"run_id": "b" * 16, "method": "fedper", "dataset": "digits", "partition": "iid", "seed": 0}
    return {"format": 1, "status": "done", "config": {}, "metrics": {}, "alpha": None, **names, **more}


def keep(folder, tensors=None, header=None, **more):
    """A run with a model; returns the path of the model."""
    content, digest = models.packed(TENSORS if tensors is None else tensors, {**HEADER, **(header or {})})
    place = folder / ("b" * 16)
    place.mkdir()
    note = {"kept": "all", "digest": digest, "bytes": len(content)}
    content_of = {name: value for name, value in record(**{"model": note, **more}).items() if value != ABSENT}
    (place / "result.json").write_text(json.dumps(content_of))
    (place / models.FILE).write_bytes(content)
    return place / models.FILE


def test_a_model_has_the_tensors_of_the_server_and_of_each_client(tmp_path):
    keep(tmp_path)
    found = model(tmp_path, "b" * 16)
    assert (found.run_id, found.kept) == ("b" * 16, "all")
    assert sorted(found.server) == ["head.bias", "prompt"]
    np.testing.assert_array_equal(found.server["prompt"], [[0, 1, 2], [3, 4, 5]])
    assert {client: own["gate"].tolist() for client, own in found.clients.items()} == {1: [0.25], 10: [0.75]}
    assert found.tensors.keys() == TENSORS.keys()
    assert all(np.array_equal(found.tensors[name], value) for name, value in TENSORS.items())


def test_the_frame_of_a_directory_gives_a_model_back(tmp_path):
    keep(tmp_path)
    runs = load(tmp_path)
    assert isinstance(runs, pd.DataFrame)
    chosen = runs[runs["method"] == "fedper"].sort_values("seed").head(1)
    for frame in (runs, chosen):
        np.testing.assert_array_equal(frame.model(frame["run_id"].iloc[0]).server["head.bias"], [1, 2])


def test_a_frame_without_a_directory_says_what_to_use(tmp_path):
    keep(tmp_path)
    load(tmp_path).to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(RecordError, match=r"results\.model\(DIR, RUN_ID\)"):
        load(tmp_path / "runs.parquet").model("b" * 16)


def refused(tmp_path, words):
    with pytest.raises(RecordError, match=words) as caught:
        model(tmp_path, "b" * 16)
    assert "\n" not in str(caught.value)


def test_a_run_that_does_not_exist_or_kept_nothing_is_named(tmp_path):
    keep(tmp_path, model=ABSENT)
    refused(tmp_path, "run b{16} kept no model: delete its directory, and run it again with --keep-model")
    with pytest.raises(RecordError, match="has no run 'other'"):
        model(tmp_path, "other")


def test_a_missing_file_is_named(tmp_path):
    keep(tmp_path).unlink()
    refused(tmp_path, r"model\.safetensors cannot be read: no such file")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_named(share, tmp_path):
    path = keep(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(tmp_path, "truncated or no model")


def test_changed_numbers_are_noticed(tmp_path):
    path = keep(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    refused(tmp_path, "was changed after it was written")


def test_the_model_of_another_run_or_of_another_execution_is_noticed(tmp_path):
    path = keep(tmp_path)
    other, _ = models.packed(TENSORS, {**HEADER, "run_id": "c" * 16})
    path.write_bytes(other)
    refused(tmp_path, "is not the model that run b{16} has kept")
    again, _ = models.packed({**TENSORS, "server/prompt": np.zeros(1)}, HEADER)
    path.write_bytes(again)
    refused(tmp_path, "is not the model that run b{16} has kept")


def test_another_safetensors_file_is_no_model(tmp_path):
    path = keep(tmp_path)
    path.write_bytes(save(TENSORS))
    refused(tmp_path, "truncated or no model")
    path.write_bytes(save(TENSORS, {"head": "[]", "digest": models.digest("[]", TENSORS)}))
    refused(tmp_path, "truncated or no model")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"format": 2}, "has format 2; this version reads 1"),
        ({"kept": "some"}, "does not describe a model"),
        ({"run_id": 3}, "does not describe a model"),
        ({"clients": ["a"]}, "does not describe a model"),
        ({"clients": {"local": [-1]}}, "does not describe a model"),
        ({"clients": {"local": [True]}}, "does not describe a model"),
    ],
    ids=str,
)
def test_a_header_of_another_form_is_named(header, words, tmp_path):
    keep(tmp_path, header=header)
    refused(tmp_path, words)


def test_the_digest_depends_on_names_types_shapes_and_values():
    values = [{"a": np.zeros(2)}, {"b": np.zeros(2)}, {"a": np.zeros(2, np.float32)}, {"a": np.zeros((2, 1))}]
    values += [{"a": np.ones(2)}, {}]
    assert len({models.digest("", tensors) for tensors in values} | {models.digest("x", {})}) == len(values) + 1


def test_the_file_is_plain_safetensors(tmp_path):
    assert load_tensors(keep(tmp_path).read_bytes()).keys() == TENSORS.keys()
