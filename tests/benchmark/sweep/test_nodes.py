import pytest

from fedprompt.benchmark.sweep.nodes import difference

HERE = {"python": "3.11.7", "torch": "2.4.0+cpu", "torchvision": "0.19", "timm": "1.0.20", "numpy": "2.1.0"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"torch": "2.5.0"}, "node 10.0.0.7 has torch 2.5.0, and the driver 2.4.0: install the driver's version there"),
        ({"timm": "absent"}, "node 10.0.0.7 has no timm, and the driver 1.0.20: install"),
        ({"python": "3.12.7"}, "node 10.0.0.7 has python 3.12, and the driver 3.11: install"),
    ],
)
def test_another_version_on_a_node_is_told_with_its_name_and_the_remedy(change: dict[str, str], said: str) -> None:
    found = difference("10.0.0.7", HERE | change, HERE)
    assert found is not None
    assert found.startswith(said)


@pytest.mark.parametrize("change", [{}, {"torch": "2.4.0+cu124"}, {"python": "3.11.9"}])
def test_builds_of_one_version_are_the_same(change: dict[str, str]) -> None:
    assert difference("10.0.0.7", HERE | change, HERE) is None
