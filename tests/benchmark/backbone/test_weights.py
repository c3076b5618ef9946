import hashlib

import pytest

from fedprompt.benchmark.backbone.weights import EMBEDDED, EMBEDDED_WEIGHTS, RANDOM, identity
from fedprompt.benchmark.errors import ConfigError


def test_a_file_is_identified_by_its_content(tmp_path):
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    one.write_bytes(b"weights")
    other.write_bytes(b"weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    assert identity("vit_tiny_patch16_224", str(one)) == identity(EMBEDDED, str(other)) == expected


def test_the_embedded_backbone_is_identified_by_its_shipped_weights():
    assert identity(EMBEDDED, None) == hashlib.sha256(EMBEDDED_WEIGHTS.read_bytes()).hexdigest()


def test_a_download_is_identified_by_its_name():
    assert identity("vit_tiny_patch16_224.augreg_in21k", None) == "timm:vit_tiny_patch16_224.augreg_in21k"


def test_random_weights_differ_from_trained_ones():
    assert identity(EMBEDDED, RANDOM) == identity("vit_tiny_patch16_224", RANDOM) == "random"


@pytest.mark.parametrize("name", ["absent.pt", "."])
def test_an_unreadable_file_is_named_in_the_error(name, tmp_path):
    with pytest.raises(ConfigError, match=f"--checkpoint {tmp_path / name} cannot be read"):
        identity(EMBEDDED, str(tmp_path / name))
