"""The realised federation of each setting: columns of a table's numbers, and one footnote per setting."""

from collections.abc import Mapping

import pandas as pd

Numbers = Mapping[str, float | None]
WORDS = {
    "federation_concentration": "concentration {:.2g}",
    "federation_drift": "drift {:.2f}",
    "federation_test_drift": "test drift {:.2f}",
    "federation_majority_share": "majority share {:.0%}",
    "federation_classes_per_client": "{:.1f} classes per client",
    "federation_untrained_tests": "{:.1%} of test samples in untrained classes",
    "federation_never_sampled_tests": "{:.1%} at clients never sampled",
}


def realised(runs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """By setting, the mean over seeds of each number that the records of the setting contain."""
    # Runs of one setting and seed have the same clients; those that train nothing have no never-sampled ones.
    by_seed = runs.groupby(["setting", "seed"], sort=False)[[name for name in WORDS if name in runs]].mean()
    means = by_seed.groupby("setting", sort=False).mean().to_dict("index")
    known = {str(setting): {str(k): v for k, v in row.items() if pd.notna(v)} for setting, row in means.items()}
    return {setting: numbers for setting, numbers in known.items() if numbers}


def footnotes(table: pd.DataFrame) -> list[str]:
    """One line per setting of a table whose records describe their federation."""
    federations: dict[str, Numbers] = table.attrs.get("federation", {})
    return [f"Realised in {setting}: {description(numbers)}" for setting, numbers in federations.items()]


def description(numbers: Numbers) -> str:
    """The numbers of a federation, by their names in `WORDS`, as one line; those that are None are left out."""
    return ", ".join(text.format(value) for name, text in WORDS.items() if (value := numbers.get(name)) is not None)


def columns(table: pd.DataFrame, settings: "pd.Series[str]") -> pd.DataFrame:
    """The numbers of the federation of each entry of `settings`; no columns if the records of a table have none."""
    federations: dict[str, Numbers] = table.attrs.get("federation", {})
    known = [name for name in WORDS if any(name in numbers for numbers in federations.values())]
    rows = [[federations.get(setting, {}).get(name) for name in known] for setting in settings]
    return pd.DataFrame(rows, columns=known, index=settings.index, dtype=float)
