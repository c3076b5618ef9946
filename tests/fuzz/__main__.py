"""`python -m tests.fuzz SECONDS`: all properties for a time, within a limited memory."""

import logging
import resource
import sys
import time
import traceback

from tests.fuzz import PROPERTIES, examples_of, run
from tests.fuzz.damage import TooSlow

EXAMPLES = 50  # per property and pass
MEMORY = 24 * 2**30  # bytes of address space, of which torch reserves several without using them


def main(seconds: float) -> int:
    """Checks all properties for a time; returns the number of failures."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable()  # of checkpoints that are set aside
    deadline, number, failures, counts = time.monotonic() + seconds, 0, 0, dict.fromkeys(PROPERTIES, 0)
    while time.monotonic() < deadline:
        for check in PROPERTIES:
            if time.monotonic() > deadline and number:
                break
            counts[check] += examples_of(check, EXAMPLES)
            try:
                run(check, EXAMPLES, number)
            except (Exception, TooSlow):  # shown at once; the other properties continue
                failures += 1
                traceback.print_exc()
        number += 1
    print(", ".join(f"{check.__name__} {count}" for check, count in counts.items()), f"examples; {failures} failures")
    return failures


if __name__ == "__main__":
    sys.exit(1 if main(float(sys.argv[1])) else 0)
