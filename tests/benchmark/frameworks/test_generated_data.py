from pathlib import Path

import numpy as np

from fedprompt.benchmark.frameworks import generated_data as made


def test_the_same_numbers_give_the_same_images(tmp_path: Path) -> None:
    first, second = made.digits(tmp_path / "a", 30, 10, 16), made.digits(tmp_path / "b", 30, 10, 16)
    for name in ("train_x", "train_y", "test_x", "test_y"):
        assert np.array_equal(np.load(first / f"{name}.npy"), np.load(second / f"{name}.npy"))


def test_images_have_the_size_asked_for_and_data_that_is_there_is_kept(tmp_path: Path) -> None:
    place = made.digits(tmp_path, 30, 10, 16)
    assert np.load(place / "train_x.npy").shape == (30, 16, 16, 3)
    (place / "kept").touch()
    assert (made.digits(tmp_path, 30, 10, 16) / "kept").exists()


def test_a_scan_drawn_twice_has_noise_of_its_own(tmp_path: Path) -> None:
    images = np.load(made.digits(tmp_path, 4000, 1, 8) / "train_x.npy")  # 1,437 scans: most are drawn again
    assert len(np.unique(images.reshape(4000, -1), axis=0)) == 4000
