"""Durations in the units that people use."""

UNITS = (("s", 1.0), ("min", 60.0), ("h", 3600.0), ("days", 86400.0))


def span(low: float, high: float) -> str:
    """A range of seconds in the largest unit of which its end has two or more, such as `4 to 6 days`.

    Where both ends are the same whole number, it is `about 5 min`.
    """
    unit, seconds = next(((name, size) for name, size in reversed(UNITS) if high >= 2 * size), UNITS[0])
    first, last = round(low / seconds), round(high / seconds)
    return f"{first} to {last} {unit}" if first < last else f"about {last} {unit}"
