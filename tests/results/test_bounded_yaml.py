import re

import pytest
import yaml

from fedprompt.results.bounded_yaml import MAX_YAML_DEPTH, load
from fedprompt.results.io import read_json, read_yaml

BOMB = "- &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"- &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("text", ["", "[1, 2.5, x, null, true, 2024-01-31]", "- &a [1, 2]\n- *a", "a: {b: [c]}"])
def test_a_text_within_the_limits_means_what_yaml_says(text):
    assert load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2024-13-45", "2024-13-45 is not of the type timestamp"),
        ("a: 1\nb: !!timestamp foo", "foo is not of the type timestamp"),
        ("a: 1\nb: !!int ''", " is not of the type int"),
        ("a: 1\nb: !!bool maybe", "maybe is not of the type bool"),
        ("a: 1\nb: " + "9" * 5000, "9" * 40 + " is not of the type int"),
        ("a: 1\nb: 18446744073709551616", "18446744073709551616 is a number of more than 64 bits"),
        ("a: 1\nb: " + "[" * (MAX_YAML_DEPTH + 1), "nested more than 100 levels deep"),
    ],
)
def test_a_value_that_is_no_value_is_refused_with_its_line(text, message):
    with pytest.raises(yaml.MarkedYAMLError, match=re.escape(message)) as caught:
        load(text)
    assert caught.value.problem_mark.line == 1


def test_the_largest_integer_and_the_deepest_brackets_are_read():
    assert load("18446744073709551615") == 2**64 - 1
    load("[" * MAX_YAML_DEPTH + "]" * MAX_YAML_DEPTH)


@pytest.mark.parametrize(
    ("text", "message"),
    [(BOMB, "stands for more than 1,000,000 values through its aliases"), ("- &a [*a]", "contains itself")],
)
def test_aliases_that_multiply_or_contain_themselves_are_refused(text, message):
    with pytest.raises(yaml.MarkedYAMLError, match=message):
        load(text)


def test_deep_blocks_and_large_files_are_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("- " * 5000)
    with pytest.raises(ValueError, match="it is nested too deeply"):
        read_yaml(path)
    path.write_text("#" * (4 * 2**20 + 1))
    with pytest.raises(ValueError, match="it has 4,194,305 bytes, at most 4,194,304 are read"):
        read_yaml(path)


@pytest.mark.parametrize("levels", [101, 100_000])
def test_json_that_is_nested_too_deeply_is_refused(tmp_path, levels):
    path = tmp_path / "a.json"
    path.write_text("[" * 100 + "]" * 100)
    read_json(path)
    for opened, closed in (("[", "]"), ('{"a":', "}")):
        path.write_text(opened * levels + "1" * (opened != "[") + closed * levels)
        with pytest.raises(ValueError, match="it is nested more than 100 levels deep"):
            read_json(path)


def test_json_that_is_wide_but_not_deep_is_read(tmp_path):
    (tmp_path / "a.json").write_text("[" + "[1]," * 1000 + "[1]]")
    assert read_json(tmp_path / "a.json") == [[1]] * 1001
