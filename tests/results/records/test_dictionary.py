from pathlib import Path

import pandas as pd
import pytest

from fedprompt.results.records.dictionary import describe, markdown

PUBLISHED = Path(__file__).parents[3] / "results" / "published"


@pytest.mark.parametrize(
    ("column", "table", "words"),
    [
        ("seen.mean", "runs", "mean accuracy over clients; seen clients"),
        (
            "prior.held_out.worst",
            "runs",
            "lowest accuracy of a client with at least --min-test test samples; held-out clients",
        ),
        ("prior_uncalibrated.seen.mean", "runs", "to the logits as they are"),
        (
            "held_out_personalised.too_few",
            "runs",
            "too few test samples to count for the worst; held-out clients after",
        ),
        ("held_out_em.mean", "runs", "class shares estimated from their unlabelled test images by EM"),
        ("held_out_bbse_worst", "rounds", "by BBSE, after this round"),
        ("unestimated_bbse", "runs", "as there is no estimate, `bbse`"),
        ("config.batch_size", "runs", "option `--batch-size`"),
        ("federation_drift", "runs", "the realised federation, `drift`"),
        ("seconds", "rounds", "wall-clock seconds"),
        (
            "seen_worst_prior",
            "rounds",
            "lowest accuracy of a client with at least --min-test test samples; seen clients",
        ),
        (
            "held_out_personalised_mean",
            "rounds",
            "held-out clients after local training on their own data, after this round",
        ),
        ("train_entropy", "rounds", "the method's diagnostic `entropy`, mean over training samples"),
        ("held_out", "clients", "whether training never samples"),
        ("test_entropy", "clients", "diagnostic `entropy`, mean over test samples"),
        ("personalised", "clients", "test accuracy of the client after local training on its own data"),
        ("personalised_prior_uncalibrated", "clients", "to the logits as they are"),
        ("accuracy_held_out_personalised_prior", "clients", "after local training on its own data, with the log"),
        ("accuracy_personalised", "clients", "test accuracy of the client after local training on its own data"),
    ],
)
def test_a_column_is_described_by_its_own_text_or_by_that_of_its_family(column, table, words):
    assert words in describe(column, table)


@pytest.mark.parametrize(
    ("column", "table"),
    [
        ("seen.median", "runs"),
        ("seem.mean", "runs"),
        ("x.y.z.mean", "runs"),
        ("seen_mean", "clients"),
        ("tested", "rounds"),
    ],
)
def test_an_unknown_column_has_no_description(column, table):
    assert describe(column, table) is None
    assert f"| `{column}` | float64 | not described |" in markdown({table: pd.DataFrame({column: [1.0]})})


def test_every_column_of_the_published_tables_is_described():
    files = sorted(PUBLISHED.glob("*/*.parquet"))
    assert len(files) >= 3
    for file in files:
        columns = pd.read_parquet(file).rename(columns={"cell": "setting"}).columns
        assert [name for name in columns if describe(name, file.stem) is None] == [], file
