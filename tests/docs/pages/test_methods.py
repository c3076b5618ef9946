from docs.pages import methods
from docs.pages.page import escape
from fedprompt.methods import registry

PAGES = {page.path: page.text for _, pages in methods.pages() for page in pages}


def differences(text):
    """The section of a page on differences from the paper."""
    return text.partition("## Differences from the paper")[2]


def test_every_method_and_optimiser_has_a_page_in_its_family():
    registry.discover()
    families = {page.title: family for family, pages in methods.pages() for page in pages}
    assert families["fedvpt"] == "global prompts"
    assert families["+fedprox"] == "optimisers"
    assert families.keys() >= set(registry.METHODS) | {f"+{name}" for name in registry.OPTIMISERS}


def test_the_index_counts_trained_parameters_on_a_vit_b():
    rows = {line.split("`")[1]: line for line in PAGES["methods/index.md"].splitlines() if line.startswith("| [`")}
    # Ten tokens of width 768, and a head of 100 x 768 weights and 100 biases.
    assert rows["fedvpt"].endswith("| 2022 | 84,580 | 0 |")
    assert rows["fedper"].endswith("| 2019 | 7,680 | 76,900 |")
    assert rows["fedncm"].endswith("| 0 | 0 |")


def test_a_page_shows_paper_source_hyperparameters_variants_tensors_and_differences():
    text, cls = PAGES["methods/pep-fedpt.md"], registry.METHODS["pep-fedpt"]
    assert "arXiv 2510.25372" in text
    assert "`methods/pep_fedpt.py`" in text
    meaning = cls.__dataclass_fields__["tau"].metadata["meaning"]
    assert f"`pep-fedpt.tau=0.1`\n:   {escape(meaning)} (float, from 1e-06)" in text
    assert "(one of posterior, prior, prototype, hard, uniform, oracle)" in text
    assert "`pep-fedpt:no-shared`\n:   `shared_tokens=0`" in text
    assert f"| `class_prompts` | 100 x 1 x 768 | 76,800 | {methods.ROLES['shared']} |" in text
    assert cls.deviations
    assert all(escape(deviation) in differences(text) for deviation in cls.deviations)
    assert "nothing; they have no model" in PAGES["methods/local.md"]


def test_a_page_shows_the_local_optimiser_of_the_paper_but_not_that_of_a_parent():
    assert (
        "- Local optimiser of the paper: SGD 0.01, momentum 0.9, weight decay 1e-5 (ubc-tea" in PAGES["methods/sgpt.md"]
    )
    assert "- Local optimiser of the paper: SGD, momentum 0.9 (KMnP/vpt" in PAGES["methods/fedvpt.md"]
    assert "Local optimiser of the paper" not in PAGES["methods/fedper.md"]


def test_the_page_of_an_optimiser_shows_its_differences_and_incompatible_methods():
    text = PAGES["methods/optimiser-scaffold.md"]
    assert "`fedvpt+scaffold`" in text
    assert "`local`" in text.partition("Incompatible with")[2].splitlines()[0]
    deviations = registry.OPTIMISERS["scaffold"].deviations
    assert deviations
    assert all(escape(deviation) in differences(text) for deviation in deviations)
    assert "Differences" not in PAGES["methods/optimiser-fedprox.md"]
    assert "`fedprox.mu=0.01`\n:   weight of the proximal term (float, from 0)" in PAGES["methods/optimiser-fedprox.md"]
