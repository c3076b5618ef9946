import numpy as np
from threadpoolctl import threadpool_info

from fedprompt.results.statistics import inference, threads


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_matrix_products_have_one_thread_inside_the_context_and_as_many_as_before_after_it():
    before = blas_threads()
    with threads.one_thread():
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_the_intervals_of_many_means_do_not_depend_on_the_number_of_threads(generator):
    from threadpoolctl import threadpool_limits

    strata = [generator.random((14, 500)) for _ in range(5)]  # where threads changed the last bits
    found = []
    for count in (1, 2):
        with threadpool_limits(count):
            found.append(np.array(inference.bootstrap_bounds(strata, seed=3)))
    assert np.array_equal(*found)
