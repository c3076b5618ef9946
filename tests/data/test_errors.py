from fedprompt.data.errors import DataError, unknown


def test_an_unknown_name_is_answered_with_the_nearest_and_all_available() -> None:
    error = unknown("fruit", "aple", ["pear", "apple"])
    assert isinstance(error, DataError)
    assert str(error) == "unknown fruit 'aple'; did you mean 'apple'? available: apple, pear"


def test_a_name_like_no_other_gets_no_guess() -> None:
    assert str(unknown("fruit", "xyz", ["pear"])) == "unknown fruit 'xyz'; available: pear"
