"""Feeds damaged and hostile files to every reader: each file is read, or rejected with an error of this project.

`python -m tests.fuzz SECONDS` runs for that time, with new examples in each pass.
"""

from collections.abc import Callable

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import inputs, runs
from tests.fuzz.damage import SECONDS, within

Property = Callable[[st.DataObject], None]
PROPERTIES: tuple[Property, ...] = (*runs.PROPERTIES, *inputs.PROPERTIES)
SLOW: tuple[Property, ...] = (*runs.SLOW, *inputs.SLOW)
FEWER = 10  # a slow property is tested on one part in this many of the examples


def examples_of(check: Property, examples: int) -> int:
    """Returns the number of examples of a property."""
    return max(1, examples // FEWER) if check in SLOW else examples


def run(check: Property, examples: int, number: int | None = None) -> None:
    """Checks a property on some examples: the same ones every time, or those of a pass."""

    def checked(data: st.DataObject) -> None:
        with within(SECONDS):
            check(data)

    tested = given(data=st.data())(checked)
    quiet = settings(
        max_examples=examples_of(check, examples),
        deadline=None,
        database=None,
        derandomize=number is None,
        suppress_health_check=list(HealthCheck),
    )
    (quiet(tested) if number is None else seed(number)(quiet(tested)))()
