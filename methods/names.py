"""Full names `METHOD[:VARIANT][:FIELD=VALUE...][+PLUGIN...]`: their parts, and the spelling of values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fedprompt.methods.errors import MethodError

MAX_VALUE_LENGTH = 200
"""Characters of a field's value."""


@dataclass(frozen=True)
class Name:
    """The parts of a full name. Nothing is checked except that a field is not given twice."""

    method: str
    variants: tuple[str, ...]
    fields: Mapping[str, str]
    plugins: tuple[str, ...]

    @property
    def plain(self) -> str:
        """The name without fields and plug-ins."""
        return ":".join((self.method, *self.variants))


def parse(name: str) -> Name:
    """Splits a full name.

    Raises:
        MethodError: A field is given twice.
    """
    base, *plugins = name.split("+")
    method, *parts = base.split(":")
    fields: dict[str, str] = {}
    for field, equals, value in (part.partition("=") for part in parts):
        if equals and field in fields:
            raise MethodError(f"{name} gives {field} twice; give it once.")
        if equals:
            fields[field] = value
    return Name(method, tuple(part for part in parts if "=" not in part), fields, tuple(plugins))


def parse_value(text: str, where: str) -> Any:
    """A value as users write it, read as YAML; `where` names it in the error."""
    import yaml

    if len(text) > MAX_VALUE_LENGTH:
        raise MethodError(f"{where}: the value has {len(text):,} characters; at most {MAX_VALUE_LENGTH}.")
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):  # a short text may mean billions
            raise MethodError(f"{where}: the value contains an alias, *NAME; write the value itself, or quote it.")
        value = yaml.safe_load(text)
    except MethodError:
        raise
    except Exception as error:  # besides YAMLError, PyYAML raises errors of many types for dates, tags and numbers
        raise MethodError(f"{where}: the value is not valid YAML.") from error
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)  # YAML reads 1e-3 as a string
    return value


def spell(value: Any) -> str:
    """The one spelling of a value in names; `parse_value` reads it back. It contains no plus sign."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).replace("e+", "e")
