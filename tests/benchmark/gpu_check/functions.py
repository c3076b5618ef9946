"""Functions that the tests of the supervisor execute in other processes."""

import os
import time


def reports_and_ends(value, send):
    send({"value": value - 1})
    send({"value": value})


def reports_and_hangs(_, send):
    send({"value": 7})
    time.sleep(600)


def reports_and_raises(_, send):
    send({"value": 7})
    raise ZeroDivisionError("by zero")


def dies(_, send):
    os._exit(9)
