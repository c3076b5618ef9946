from fedprompt.results.figures.parts.panels import wrapped


def test_a_name_is_split_at_spaces_and_at_a_hyphen_only_in_a_word_longer_than_the_line():
    assert wrapped("pacs pep-fedpt dirichlet(0.5)", 21) == "pacs pep-fedpt\ndirichlet(0.5)"
    lines = wrapped("pacs leave-one-domain-out(0.5) domain=photo", 18)
    assert lines == "pacs leave-one-\ndomain-out(0.5)\ndomain=photo"


def test_a_long_word_without_a_hyphen_is_cut():
    assert wrapped("a" * 40, 20) == "a" * 20 + "\n" + "a" * 20
