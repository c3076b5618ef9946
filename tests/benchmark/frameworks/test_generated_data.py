import numpy as np

from fedprompt.benchmark.frameworks import generated_data


def test_the_same_arguments_give_the_same_images(tmp_path):
    first, second = generated_data.digits(tmp_path / "a", 30, 10, 16), generated_data.digits(tmp_path / "b", 30, 10, 16)
    for name in ("train_x", "train_y", "test_x", "test_y"):
        assert np.array_equal(np.load(first / f"{name}.npy"), np.load(second / f"{name}.npy"))


def test_images_have_the_requested_size_and_existing_data_is_reused(tmp_path):
    place = generated_data.digits(tmp_path, 30, 10, 16)
    assert np.load(place / "train_x.npy").shape == (30, 16, 16, 3)
    (place / "marker").touch()
    assert (generated_data.digits(tmp_path, 30, 10, 16) / "marker").exists()


def test_a_digit_drawn_twice_gets_different_noise(tmp_path):
    images = np.load(generated_data.digits(tmp_path, 4000, 1, 8) / "train_x.npy")  # of 1,437 digits
    assert len(np.unique(images.reshape(4000, -1), axis=0)) == 4000
