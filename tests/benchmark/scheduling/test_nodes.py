import pytest

from fedprompt.benchmark.scheduling.nodes import difference

HERE = {"python": "3.11.7", "torch": "2.4.0+cpu", "torchvision": "0.19", "timm": "1.0.20", "numpy": "2.1.0"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"torch": "2.5.0"}, "node 10.0.0.7 has torch 2.5.0; the driver has 2.4.0. Install the driver's version there"),
        ({"timm": "absent"}, "node 10.0.0.7 has no timm; the driver has 1.0.20. Install"),
        ({"python": "3.12.7"}, "node 10.0.0.7 has python 3.12; the driver has 3.11. Install"),
    ],
)
def test_another_version_on_a_node_is_reported_with_the_remedy(change, message):
    error = difference("10.0.0.7", HERE | change, HERE)
    assert error.startswith(message)


@pytest.mark.parametrize("change", [{}, {"torch": "2.4.0+cu124"}, {"python": "3.11.9"}])
def test_builds_for_different_devices_are_the_same_version(change):
    assert difference("10.0.0.7", HERE | change, HERE) is None
