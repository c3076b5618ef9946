import gc

import pytest

from fedprompt.benchmark.scheduling.launch import _no_garbage_collection


def fail_without_garbage_collection():
    with _no_garbage_collection():
        assert not gc.isenabled()
        raise ImportError


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_as_before_even_after_an_error(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ImportError):
            fail_without_garbage_collection()
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
