from tests.methods.test_pep_fedpt import CLASSES, DIM, pep


def test_a_client_uploads_shared_tensors_and_the_rows_of_its_own_classes():
    """The three clients hold 4, 2 and 3 classes."""
    simulator = pep(rounds=2, shared_tokens=5, class_tokens=2)
    dense, a_class, statistics = 5 * DIM + CLASSES * DIM + CLASSES, 2 * DIM, DIM + 1
    first, *rounds = (row["upload_bytes"] for row in simulator.outcome.rounds)
    assert first == 4 * 9 * statistics
    assert rounds == [first + n * 4 * (3 * dense + 9 * (a_class + statistics)) for n in (1, 2)]
    first, *rounds = (row["download_bytes"] for row in simulator.outcome.rounds)
    received = 3 * (dense + DIM) + 9 * (a_class + DIM + 1)  # with the centre, and rows of prototypes and of `known`
    assert first == 4 * received
    assert rounds == [first + n * 4 * received for n in (1, 2)]


def test_a_rule_over_all_classes_sends_all_class_prompts():
    simulator = pep("uniform", rounds=1)
    whole = 10 * DIM + CLASSES * DIM + CLASSES * DIM + CLASSES
    assert simulator.outcome.upload_bytes == simulator.outcome.download_bytes == 3 * 4 * whole
