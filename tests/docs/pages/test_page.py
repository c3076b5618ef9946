from markdown import markdown

from docs.pages.page import definitions, plain, sections, table

EXTENSIONS = ["def_list", "tables"]


def test_plain_text_shows_every_sign_and_keeps_code() -> None:
    text = "c_i <- c_i - *c* |w - w_t|^2, [B, M] & `a_b[*]` # ~"
    shown = markdown(plain(text), extensions=EXTENSIONS)
    assert shown == "<p>c_i &lt;- c_i - *c* |w - w_t|^2, [B, M] &amp; <code>a_b[*]</code> # ~</p>"


def test_a_cell_of_a_table_may_hold_a_bar() -> None:
    shown = markdown(table(("a", "b"), [("x", plain("|w|"))], right=1), extensions=EXTENSIONS)
    assert "<td>x</td>" in shown
    assert '<td style="text-align: right;">|w|</td>' in shown


def test_a_term_stands_over_its_meaning() -> None:
    shown = markdown(definitions([("--alpha <float>", "how skewed"), ("--beta", "what else")]), extensions=EXTENSIONS)
    assert shown.count("<dl>") == 1
    assert "<dt><code>--alpha &lt;float&gt;</code></dt>\n<dd>how skewed</dd>" in shown


def test_empty_pieces_leave_no_gap() -> None:
    assert sections("# A\n", "", "b") == "# A\n\nb\n"
