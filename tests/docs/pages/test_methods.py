from docs.pages import methods
from fedprompt.methods import registry

PAGES = {page.path: page.text for _, pages in methods.pages() for page in pages}


def test_every_method_and_plugin_has_a_page_in_its_family() -> None:
    registry.discover()
    families = {page.title: family for family, pages in methods.pages() for page in pages}
    assert families["fedvpt"] == "global prompts"
    assert families["+fedprox"] == "optimiser plug-ins"
    assert families.keys() >= set(registry.METHODS) | {f"+{name}" for name in registry.OPTIMISERS}


def test_the_index_tells_what_is_trained_on_a_vit_b() -> None:
    rows = {line.split("`")[1]: line for line in PAGES["methods/index.md"].splitlines() if line.startswith("| [`")}
    # Ten tokens of width 768, and a head of 100 x 768 weights and 100 biases.
    assert rows["fedvpt"].endswith("| 2022 | 84,580 | 0 |")
    assert rows["fedper"].endswith("| 2019 | 7,680 | 76,900 |")
    assert rows["fedncm"].endswith("| 0 | 0 |")


def test_a_page_tells_paper_fields_variants_tensors_and_differences() -> None:
    text = PAGES["methods/pep-fedpt.md"]
    assert "arXiv 2510.25372" in text
    assert "`pep-fedpt.tau=0.1`\n:   temperature of the cosine similarities (float, from 1e-06)" in text
    assert "(one of posterior, prior, prototype, hard, uniform, oracle)" in text
    assert "`pep-fedpt:no-shared`\n:   `shared_tokens=0`" in text
    assert "| `class_prompts` | 100 x 1 x 768 | 76,800 | trained by clients, averaged by the server |" in text
    assert "no official code is public" in text.partition("## Differences from the paper")[2]
    assert "nothing, it has no model" in PAGES["methods/local.md"]


def test_a_page_of_a_plugin_tells_its_differences_and_what_it_cannot_act_on() -> None:
    text = PAGES["methods/plug-in-scaffold.md"]
    assert "`fedvpt+scaffold`" in text
    assert "`local`" in text.partition("Not with")[2].splitlines()[0]
    assert "the local SGD has momentum" in text.partition("## Differences from the paper")[2]
    assert "Differences" not in PAGES["methods/plug-in-fedprox.md"]
    assert "`fedprox.mu=0.01`\n:   weight of the proximal term (float, from 0)" in PAGES["methods/plug-in-fedprox.md"]
