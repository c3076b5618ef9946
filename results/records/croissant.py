"""Croissant metadata (MLCommons, version 1.1) of exported tables: what search engines for data sets read."""

import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedprompt.results.records import archive
from fedprompt.results.records.dictionary import describe
from fedprompt.results.records.files import KEYS

VERSION = "http://mlcommons.org/croissant/1.1"
OF_CROISSANT = (
    *("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract"),
    *("field", "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath"),
    *("key", "md5", "parentField", "recordSet", "references", "regex", "readLines", "sdVersion", "separator"),
    *("source", "subField", "transform", "unArchive", "value"),
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{name: {"@id": f"cr:{name}", "@type": "@json"} for name in ("data", "examples")},
    **{name: f"cr:{name}" for name in OF_CROISSANT},
}
"""The JSON-LD context that the specification recommends."""
TITLES = {
    "runs": "one row per run: its names, scores, costs and options",
    "rounds": "one row per round of each finished run",
    "clients": "one row per client of each finished run",
}
LICENSE = "https://spdx.org/licenses/Apache-2.0.html"
CREATOR = "The fedprompt-bench contributors"
"""The licence and the authors of this repository, which its published folders have."""


def metadata(
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    published: datetime.date | None = None,
    terms: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of croissant.json.

    Args:
        folder: The folder of the files NAME.parquet, which are read for their checksums, and of the records, if it has
            them: exports of earlier versions have none.
        tables: The content of the files by name (runs, rounds, clients).
        published: The date of publication; default: today.
        terms: `license` and `creator`, which the format requires and only the authors of the runs can give; see
            `published_terms`.
    """
    runs = tables["runs"]
    seeds = ", ".join(str(seed) for seed in sorted(set(runs["seed"])))
    settings = list(dict.fromkeys(runs["setting" if "setting" in runs else "cell"]))  # its name in version 0.1
    shown = ", ".join(settings[:5]) + (f" and {len(settings) - 5} more" if len(settings) > 5 else "")
    description = (
        f"Runs of federated prompt tuning: {len(runs)} runs of {runs['method'].nunique()} methods on {shown}; "
        f"seeds {seeds}. Recorded by fedprompt-bench."
    )
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": folder.resolve().name,
        "description": description,
        "url": "README.md",
        "version": "1.0.0",
        "datePublished": (published or datetime.date.today()).isoformat(),
        **(terms or {}),
        "keywords": ["federated learning", "prompt tuning", "vision transformers", "benchmark"],
        "distribution": [
            *(_file(folder / f"{name}.parquet", "application/x-parquet") for name in tables),
            *([_file(folder / archive.FILE, "application/x-xz")] if (folder / archive.FILE).is_file() else []),
        ],
        "recordSet": [_record_set(name, frame) for name, frame in tables.items()],
    }


def published_terms() -> dict[str, Any]:
    """The licence and the authors of folders that are part of this repository."""
    return {"license": LICENSE, "creator": {"@type": "sc:Organization", "name": CREATOR}}


def as_text(content: Mapping[str, Any]) -> str:
    """The text of a croissant.json."""
    return json.dumps(content, indent=1) + "\n"


def _file(path: Path, encoding: str) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{len(content)} B",
        "encodingFormat": encoding,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _record_set(table: str, frame: pd.DataFrame) -> dict[str, Any]:
    identity = [name for name in KEYS[table] if name in ("run_id", "round", "client")]
    return {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "description": TITLES[table],
        "key": [{"@id": f"{table}/{name}"} for name in identity],
        "field": [_field(table, str(name), frame[name]) for name in frame],
    }


def _field(table: str, name: str, column: "pd.Series[Any]") -> dict[str, Any]:
    lists = any(isinstance(value, list | np.ndarray) for value in column)
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{name}",
        "name": name,
        "description": describe(name, table) or "not described",
        "dataType": "sc:Integer" if lists else _data_type(column),
        **({"isArray": True, "arrayShape": "-1"} if lists else {}),  # counts and classes are the only lists
        "source": {"fileObject": {"@id": f"{table}.parquet"}, "extract": {"column": name}},
        **({"references": {"field": {"@id": "runs/run_id"}}} if name == "run_id" and table != "runs" else {}),
    }


def _data_type(column: "pd.Series[Any]") -> str:
    kinds = pd.api.types
    if kinds.is_bool_dtype(column):
        return "sc:Boolean"
    if kinds.is_integer_dtype(column):
        return "sc:Integer"
    return "sc:Float" if kinds.is_float_dtype(column) else "sc:Text"
