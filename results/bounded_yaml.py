"""YAML whose values are bounded in size, and whose errors all name their line."""

from typing import Any

import yaml

MAX_YAML_VALUES = 1_000_000  # with aliases replaced by their values: a few lines could otherwise mean billions
MAX_YAML_DEPTH = 100  # the time to read brackets grows with the square of their depth
MAX_INTEGER_BITS = 64  # no option is larger, and Python cannot print numbers of 5,000 digits
SHOWN = 40  # characters of a value in a message


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader. Its constructors raise errors of many types, for dates and tags that do not parse."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Refuses lists and mappings in brackets that are nested too deeply."""
        if self.flow_level >= MAX_YAML_DEPTH:
            problem = f"nested more than {MAX_YAML_DEPTH} levels deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node, refused if it is of another type or too large a number."""
        try:
            value = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # PyYAML's constructors raise errors of many types for invalid values
            raise _error(node, f"is not of the type {node.tag.rpartition(':')[2]}") from error
        if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
            raise _error(node, f"is a number of more than {MAX_INTEGER_BITS} bits")
        return value


def load(text: str) -> Any:
    """The value of a YAML text. Raises yaml.YAMLError, or ValueError if it is nested too deeply."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MAX_YAML_VALUES:
            raise _error(node, f"stands for more than {MAX_YAML_VALUES:,} values through its aliases")
        return loader.construct_document(node)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for. Raises yaml.YAMLError if it contains itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = -1  # not known yet
        inner = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_values(part, known) for part in inner)
    if known[id(node)] < 0:
        raise _error(node, "contains itself")
    return known[id(node)]


def _error(node: yaml.Node, fault: str) -> yaml.MarkedYAMLError:
    shown = str(node.value)[:SHOWN] if isinstance(node, yaml.ScalarNode) else "this value"
    return yaml.MarkedYAMLError(problem=f"{shown} {fault}", problem_mark=node.start_mark)
