from markdown import markdown

from docs.pages.page import definitions, escape, sections, table

EXTENSIONS = ["def_list", "tables"]


def test_escaped_text_shows_every_character_and_keeps_code():
    text = "c_i <- c_i - *c* |w - w_t|^2, [B, M] & `a_b[*]` # ~"
    shown = markdown(escape(text), extensions=EXTENSIONS)
    assert shown == "<p>c_i &lt;- c_i - *c* |w - w_t|^2, [B, M] &amp; <code>a_b[*]</code> # ~</p>"


def test_a_table_entry_may_contain_a_bar():
    shown = markdown(table(("a", "b"), [("x", escape("|w|"))], right=1), extensions=EXTENSIONS)
    assert "<td>x</td>" in shown
    assert '<td style="text-align: right;">|w|</td>' in shown


def test_a_definition_puts_the_meaning_below_the_term():
    shown = markdown(definitions([("--alpha <float>", "how skewed"), ("--beta", "what else")]), extensions=EXTENSIONS)
    assert shown.count("<dl>") == 1
    assert "<dt><code>--alpha &lt;float&gt;</code></dt>\n<dd>how skewed</dd>" in shown


def test_sections_skip_empty_pieces():
    assert sections("# A\n", "", "b") == "# A\n\nb\n"
