"""Hyperparameter values -> instances of methods and plug-ins, after checking types and limits."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from fedprompt.methods.errors import MethodError


def configure(cls: type[Any], values: Mapping[str, Any]) -> Any:
    """An instance of `cls` with these field values, after checking their types and limits."""
    if not values:
        return cls()
    from typing import get_type_hints

    from pydantic import TypeAdapter, ValidationError

    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    checked = {}
    for name, value in values.items():
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise MethodError(f"{cls.name} has no field {name!r}{hint(name, fields)}; fields: {known}.")
        try:
            checked[name] = TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            raise MethodError(f"{cls.name}.{name}={value}: {error.errors()[0]['msg'].lower()}.") from error
        _check_limits(f"{cls.name}.{name}", checked[name], fields[name].metadata)
    return cls(**checked)


def _check_limits(label: str, value: Any, limits: Mapping[str, Any]) -> None:
    low, high = limits.get("low"), limits.get("high")
    if value is None or isinstance(value, str | bool):
        return
    if not math.isfinite(value):
        raise MethodError(f"{label}={value} is not a finite number.")
    if not ((low is None or value >= low) and (high is None or value <= high)):
        allowed = f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
        raise MethodError(f"{label}={value} is out of range: it must be {allowed}.")


def hint(name: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt name, in any case; empty if no known one is similar."""
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""
