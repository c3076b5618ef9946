import json
import math

import pytest

from fedprompt.results.text import MAX_MESSAGE, bounded, escaped, for_spreadsheet, has_safe_texts, one_line, safe_texts


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("accuracy ±1 of naïve † ↗ 模型", "accuracy ±1 of naïve † ↗ 模型"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),  # the one-byte form of ESC [
        ("done\rfailed", "done\\rfailed"),
        ("caf\udce9", "caf\\udce9"),
        ("a\u202eb\u2028c", "a\\u202eb\\u2028c"),
        ("two\nlines\tand a tab", "two\\nlines\\tand a tab"),
    ],
)
def test_what_a_terminal_or_a_file_cannot_take_is_written_as_code(raw, safe):
    assert escaped(raw) == safe
    assert escaped(safe) == safe
    assert safe.encode("utf-8")


def test_lines_keep_their_breaks_and_tabs_only():
    assert escaped("a\n\tb\r\nc\x1b", lines=True) == "a\n\tb\\r\nc\\x1b"


def test_texts_and_keys_inside_a_record_are_escaped_and_numbers_stay():
    record = {"a\x1b": ["b\r", {"c": "d\udcff"}, 1.5, None, True], "e": "\n"}
    assert safe_texts(record) == {"a\\x1b": ["b\\r", {"c": "d\\udcff"}, 1.5, None, True], "e": "\\n"}


def test_a_long_text_keeps_its_beginning_and_its_end():
    assert bounded("0123456789", 10) == "0123456789"
    assert bounded("0123456789a", 10) == "01234 ... (1 characters left out) ... 6789a"
    assert bounded("ab" * 5_000, 4) == "ab ... (9,996 characters left out) ... ab"


def test_an_error_is_one_short_line_whatever_its_message_is():
    assert one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(ValueError("\x1b[1m\udcff")) == "ValueError: \\x1b[1m\\udcff"
    assert len(one_line(ValueError("x" * 50_000))) < 4_100


def test_an_error_whose_message_cannot_be_read_still_has_a_line():
    class UnprintableError(Exception):
        def __str__(self):
            raise ZeroDivisionError

    assert one_line(UnprintableError()) == "UnprintableError: its message cannot be read"


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", " =1", "--", "-"])
def test_a_cell_that_a_spreadsheet_would_execute_begins_with_an_apostrophe(cell):
    assert for_spreadsheet(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", [-1.5, -3, "-1.5", "+2e3", "head+prior", "", None, True, "a=b"])
def test_numbers_and_other_text_stay_as_they_are(cell):
    assert for_spreadsheet(cell) == cell


def test_a_missing_number_stays_missing():
    assert math.isnan(for_spreadsheet(math.nan))


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("fedvpt", True),
        ("x" * MAX_MESSAGE, True),
        ("x" * (MAX_MESSAGE + 1), False),
        ("naïve", False),
        ("a\x1b", False),
        ("a\x7f", False),
        ("a\nb", False),
        ("\udcff", False),
        ('a"b', False),
    ],
)
def test_a_json_text_is_called_safe_only_if_nothing_in_it_would_change(text, safe):
    for ensure_ascii in (True, False):
        written = json.dumps({"a": [1, {"b": text}], text: 2.5}, indent=1, ensure_ascii=ensure_ascii)
        assert has_safe_texts(written) is safe
        assert not safe or safe_texts(json.loads(written)) == json.loads(written)
