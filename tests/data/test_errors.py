from fedprompt.data.errors import DataError, unknown


def test_an_unknown_name_gets_a_suggestion_and_the_available_names():
    error = unknown("fruit", "aple", ["pear", "apple"])
    assert isinstance(error, DataError)
    assert str(error) == "unknown fruit 'aple'; did you mean 'apple'? available: apple, pear"


def test_a_name_without_a_close_match_gets_no_suggestion():
    assert str(unknown("fruit", "xyz", ["pear"])) == "unknown fruit 'xyz'; available: pear"


def test_a_suggestion_ignores_case_and_has_the_spelling_of_the_known_name():
    assert "did you mean 'digits'?" in str(unknown("data set", "DIGITS", ["digits", "pacs"]))
    assert "did you mean 'Clipart'?" in str(unknown("domain", "clipart", ["Clipart", "Sketch"]))
