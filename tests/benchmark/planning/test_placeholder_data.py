import numpy as np
import pytest
import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.planning import placeholder_data
from fedprompt.data import registry
from fedprompt.data.errors import DataError
from tests.toy import dataset, vit


def test_placeholder_has_the_published_numbers_of_samples_classes_and_clients(tmp_path):
    made = placeholder_data.placeholder(registry.source("cifar100", tmp_path))
    assert np.bincount(made.train_y).tolist() == [500] * 100
    assert np.bincount(made.test_y).tolist() == [100] * 100
    made = placeholder_data.placeholder(registry.source("domainnet-345", tmp_path))
    assert len(made.domains) == 6
    assert set(np.bincount(made.train_domains)) <= {409_832 // 6, 409_832 // 6 + 1}
    made = placeholder_data.placeholder(registry.source("inaturalist-user-120k", tmp_path))
    assert np.bincount(made.train_clients).max() == 2511  # the real client sizes


def test_data_set_of_unknown_size_is_refused(tmp_path):
    with pytest.raises(DataError, match="`bench data prepare domainnet-10` downloads it"):
        placeholder_data.placeholder(registry.source("domainnet-10", tmp_path))


def test_blank_samples_have_the_shapes_and_sizes_of_real_ones():
    real, blank = (
        Samples(dataset().train_x, dataset().train_y, vit()),
        placeholder_data.BlankSamples(dataset(), "train", vit()),
    )
    rows = torch.tensor([3, 59, 3])
    assert blank.process_bytes == real.images.numel()
    for name in ("pixels", "tokens", "features"):
        assert getattr(blank, name)(rows).shape == getattr(real, name)(rows).shape
    assert blank.process_bytes == real.images.numel()
    assert blank.shared_bytes == 4 * (
        60 * 17 * 24 + 60 * 24
    )  # 17 tokens of width 24, fp32, in files that all processes map
    assert torch.equal(blank.labels, real.labels)
