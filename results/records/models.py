"""The trained tensors that a run keeps with `--keep-model`: one safetensors file beside its record."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedprompt.results.errors import RecordError
from fedprompt.results.io import reason

if TYPE_CHECKING:  # `bench --help` imports this module
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]

FILE = "model.safetensors"
KEPT = ("server", "all")
"""What can be kept: the server's tensors, or those of its clients too."""
FORMAT = 1
CLIENTS = "local"
_REMEDY = "run it again with --keep-model"


@dataclass(frozen=True)
class Model:
    """The trained tensors of a run, as NumPy arrays.

    Attributes:
        run_id: The run.
        kept: `server`, or `all` with the clients' tensors.
        tensors: All tensors by `PART/NAME`. The parts are `server`, `optimiser/I` (what the server keeps for an
            optimiser), `local/CLIENT` and `optimiser_local/CLIENT` (what a client keeps), and `standardize` (the
            statistics that standardise the features).
        header: What else the file says of the run, as `bench run --from` needs it.
    """

    run_id: str
    kept: str
    tensors: "Arrays"
    header: Mapping[str, Any]

    @cached_property
    def server(self) -> "dict[str, NDArray[np.generic]]":
        """The server's tensors by name."""
        return _part(self.tensors, "server")

    @cached_property
    def clients(self) -> "dict[int, dict[str, NDArray[np.generic]]]":
        """The tensors of each client that has trained, by name: its own ones, and its copies of shared ones.

        Empty if only the server's were kept, or if the method keeps nothing at clients.
        """
        members = self.header["clients"].get(CLIENTS, ())
        return {client: _part(self.tensors, f"{CLIENTS}/{client}") for client in members}


def model(directory: str | Path, run_id: str) -> Model:
    """The trained tensors of a run.

    Args:
        directory: The directory of the sweep.
        run_id: The run, as in the column `run_id` of `load`.

    Raises:
        RecordError: There is no such run, it kept no model, or the file is missing, damaged or of another run.
    """
    from fedprompt.results.records.files import read_record

    folder = Path(directory) / run_id
    if not (folder / "result.json").exists():
        raise RecordError(f"{directory} has no run {run_id!r}: `load` lists the run ids of a directory")
    record = read_record(folder / "result.json")
    note, path = record.get("model"), folder / FILE
    if not note:
        raise RecordError(f"run {run_id} kept no model: delete its directory, and {_REMEDY}")
    found = read(path)
    if found.run_id != run_id or found.header["digest"] != note.get("digest"):
        raise RecordError(f"{path} is not the model that run {run_id} has kept: delete its directory, and {_REMEDY}")
    return found


def read(path: Path) -> Model:
    """Reads a file of `--keep-model`. Raises RecordError if it is missing, damaged or of a newer format."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
        tensors = load(content)
        facts = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        text, stated = facts["head"], facts["digest"]
        header = json.loads(text)
        number, run_id, kept, clients = (header[key] for key in ("format", "run_id", "kept", "clients"))
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {reason(error)}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"{path} is truncated or no model: delete the run's directory, and {_REMEDY}") from error
    if stated != digest(text, tensors):
        raise RecordError(f"{path} was changed after it was written: delete the run's directory, and {_REMEDY}")
    if number != FORMAT:
        raise RecordError(f"{path} has format {str(number)[:40]}; this version reads {FORMAT}: upgrade the harness")
    complete = isinstance(clients, dict) and all(_are_ids(members) for members in clients.values())
    if kept not in KEPT or not isinstance(run_id, str) or not complete:
        raise RecordError(f"{path} does not describe a model: delete the run's directory, and {_REMEDY}")
    return Model(run_id, kept, tensors, {**header, "digest": stated})


def packed(tensors: "Arrays", header: Mapping[str, Any]) -> tuple[bytes, str]:
    """The content of a file with these tensors and this header, and its digest."""
    from safetensors.numpy import save

    text = json.dumps({"format": FORMAT, **header})
    stated = digest(text, tensors)
    return save(dict(tensors), {"head": text, "digest": stated}), stated


def digest(text: str, tensors: "Arrays") -> str:
    """A hash of the header's text and of all tensors."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.tobytes())
    return found.hexdigest()


def _part(tensors: "Arrays", part: str) -> "dict[str, NDArray[np.generic]]":
    prefix = f"{part}/"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _are_ids(members: Any) -> bool:
    return isinstance(members, list) and all(type(client) is int and client >= 0 for client in members)
