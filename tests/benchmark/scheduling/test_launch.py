import gc
from contextlib import suppress

import pytest

from fedprompt.benchmark.scheduling.launch import _no_garbage_collection


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_as_before_even_after_an_error(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with suppress(ImportError), _no_garbage_collection():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
