"""Croissant metadata: what version 1.1 of the specification requires, and that it describes the files."""

import datetime
import hashlib
import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fedprompt.results.records import croissant
from fedprompt.results.records.export import export_folder

REQUIRED = ("@context", "@type", "conformsTo", "description", "license", "name", "url", "creator", "datePublished")
ARROW = {"sc:Text": ("string", "large_string", "null"), "sc:Float": ("double",), "sc:Boolean": ("bool",)}
ARROW |= {"sc:Integer": ("int64", "list<element: int64>", "list<item: int64>")}


def faults(content, folder):
    """What the specification, and the files in the folder, contradict."""
    found = [f"lacks {name}" for name in REQUIRED if not content.get(name)]
    found += [] if content["@type"] == "sc:Dataset" else ["not a dataset"]
    context = content["@context"]
    files = {file["@id"]: file for file in content["distribution"]}
    for name, file in files.items():
        data = (folder / file["contentUrl"]).read_bytes()
        if file["sha256"] != hashlib.sha256(data).hexdigest() or file["contentSize"] != f"{len(data)} B":
            found.append(f"{name} is another file")
    sets = content["recordSet"]
    ids = [part["@id"] for part in [*files.values(), *sets, *(field for one in sets for field in one["field"])]]
    found += [f"{name} is not unique" for name in {name for name in ids if ids.count(name) > 1}]
    for one in sets:
        fields = {field["@id"]: field for field in one["field"]}
        found += [f"key {key['@id']} is no field" for key in one["key"] if key["@id"] not in fields]
        for name, field in fields.items():
            known = {*context, "name", "description"}
            found += [f"{name} has the unknown property {key}" for key in field if key[0] != "@" and key not in known]
            schema = pq.read_schema(folder / field["source"]["fileObject"]["@id"])
            kind = str(schema.field(field["source"]["extract"]["column"]).type)
            found += [] if kind in ARROW[field["dataType"]] else [f"{name} is {kind}, not {field['dataType']}"]
            found += [] if field.get("isArray", False) == kind.startswith("list") else [f"{name} is no array"]
            found += [] if field["description"] not in ("", "not described") else [f"{name} is not described"]
            reference = field.get("references", {}).get("field", {}).get("@id", name)
            found += [] if reference in ids else [f"{name} refers to {reference}"]
        columns = {field["source"]["extract"]["column"] for field in fields.values()}
        found += [] if columns == set(pq.read_schema(folder / f"{one['@id']}.parquet").names) else ["lacks columns"]
    return found


@pytest.fixture
def folder(write, runs, tmp_path):
    write(config={"clients_per_domain": 3}, environment={"torch": "2"}, deviations=["none | known"])
    write(seed=1, error="it broke", config={"clients_per_domain": None})
    export_folder(runs, tmp_path / "exported")
    return tmp_path / "exported"


def test_with_the_authors_terms_it_has_all_that_the_specification_requires(folder):
    content = json.loads((folder / "croissant.json").read_text())
    assert faults(content, folder) == ["lacks license", "lacks creator"]
    assert faults(content | croissant.published_terms(), folder) == []


def test_it_describes_types_keys_and_references(folder):
    content = json.loads((folder / "croissant.json").read_text())
    fields = {field["@id"]: field for one in content["recordSet"] for field in one["field"]}
    assert fields["runs/seen.mean"]["dataType"] == "sc:Float"
    assert "mean accuracy over clients" in fields["runs/seen.mean"]["description"]
    assert fields["runs/config.clients_per_domain"]["dataType"] == "sc:Integer"
    assert (fields["clients/class_counts"]["isArray"], fields["clients/class_counts"]["arrayShape"]) == (True, "-1")
    assert fields["clients/held_out"]["dataType"] == "sc:Boolean"
    assert fields["rounds/run_id"]["references"] == {"field": {"@id": "runs/run_id"}}
    assert [key["@id"] for key in content["recordSet"][1]["key"]] == ["rounds/run_id", "rounds/round"]
    assert "2 runs of 1 methods on digits dirichlet(0.05), " in content["description"]
    assert "; seeds 0, 1." in content["description"]


def test_it_lists_the_records_where_a_folder_has_them(folder):
    files = {file["@id"]: file for file in json.loads((folder / "croissant.json").read_text())["distribution"]}
    assert list(files) == ["runs.parquet", "rounds.parquet", "clients.parquet", "records.jsonl.xz"]
    assert files["records.jsonl.xz"]["encodingFormat"] == "application/x-xz"
    assert files["runs.parquet"]["encodingFormat"] == "application/x-parquet"
    (folder / "records.jsonl.xz").unlink()
    tables = {"runs": pd.read_parquet(folder / "runs.parquet")}
    assert [file["@id"] for file in croissant.metadata(folder, tables)["distribution"]] == ["runs.parquet"]


def test_the_date_is_that_of_the_publication(folder):
    tables = {"runs": pd.read_parquet(folder / "runs.parquet")}
    assert croissant.metadata(folder, tables, datetime.date(2026, 1, 2))["datePublished"] == "2026-01-02"


def test_faults_are_found(folder):
    content = json.loads((folder / "croissant.json").read_text()) | croissant.published_terms()
    runs = content["recordSet"][0]
    runs["field"][0]["dataType"] = "sc:Float"
    runs["field"].append(runs["field"][1])
    (folder / "rounds.parquet").write_bytes(b"")
    assert faults(content | {"recordSet": [runs]}, folder) == [
        "rounds.parquet is another file",
        "runs/method is not unique",
        f"runs/run_id is {pq.read_schema(folder / 'runs.parquet').field('run_id').type}, not sc:Float",
    ]
