from dataclasses import replace

import pytest

from fedprompt.benchmark.backbone import loading
from fedprompt.benchmark.backbone.preprocessing import described, image_rules, planned_rules
from fedprompt.data.images.decoding import train_test_files
from tests.data.toy import toy

BACKBONE = "bench_vit_patch8_32"


@pytest.fixture
def arrays():
    return replace(toy([0, 1], [1, 0], 2), split_rule="by hand")


@pytest.fixture
def files(tmp_path, arrays):
    train, test = train_test_files(tmp_path, ["a.png", "b.png"], ["c.png", "d.png"], "toy", "v1")
    return replace(arrays, train_x=train, test_x=test)


def test_rules_state_split_resize_and_the_normalisation_that_is_applied(arrays):
    vit = loading.load(BACKBONE, 2, "random")
    rules = image_rules(arrays, vit, "backbone")
    assert rules["split"] == "by hand"
    assert rules["resize"] == "from 1x1 px to 32x32 px, bicubic with antialiasing, both sides stretched"
    assert (rules["mean"], rules["std"]) == (list(vit.mean), list(vit.std))
    assert image_rules(arrays, vit, "none")["mean"] == [0, 0, 0]


@pytest.mark.parametrize("normalize", ["backbone", "imagenet"])
def test_planned_rules_are_those_of_the_run(files, normalize):
    assert planned_rules(files, BACKBONE, None, normalize) == image_rules(
        files, loading.load(BACKBONE, 2, "random"), normalize
    )


def test_planned_rules_of_a_timm_backbone_need_no_weights(files):
    text = described(planned_rules(files, "vit_base_patch16_224.orig_in21k", None, "backbone"))
    assert "from each image's size to 224x224 px" in text
    assert "mean 0.5, 0.5, 0.5 and std 0.5, 0.5, 0.5" in text
    assert "to 384x384 px" in described(planned_rules(files, "vit_base_patch16_224.orig_in21k", 384, "backbone"))


def test_images_of_the_right_size_are_not_resized(arrays):
    assert planned_rules(arrays, BACKBONE, 1, "none")["resize"] == "1x1 px, not resized"


def test_values_that_timm_does_not_state_are_the_backbones(files):
    assert "mean the backbone's and std the backbone's" in described(planned_rules(files, "unknown", None, "backbone"))
