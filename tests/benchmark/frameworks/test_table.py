from dataclasses import replace

from fedprompt.benchmark.frameworks.table import Row, disagreements, markdown, table, text

OURS = Row("ours", 100, 0, 0.5, 5.0, 15.0, 400_000_000, 500_000_000, 0.6)
OTHER = Row("plain", 100, 0, 2.0, 4.0, 45.0, 1_000_000_000, 1_000_000_000, 0.62)


def test_a_table_row_aggregates_seeds():
    seeds = [
        replace(OURS, seed=s, round_seconds=r, accuracy=a) for s, r, a in ((0, 0.5, 0.6), (1, 0.7, 0.5), (2, 9, 0.7))
    ]
    (cells,) = table(seeds)[1:]
    assert cells[2] == "0.70"  # median of 0.5, 0.7 and 9
    assert cells[6] == "0.600 ± 0.100"


def test_ratios_are_relative_to_ours_at_the_same_number_of_clients():
    large = replace(OURS, clients=1000, round_seconds=4.0)
    cells = table([OURS, OTHER, large, replace(OTHER, clients=1000)])
    assert cells[2] == ("100", "plain", "2.00", "4.0", "45.0", "1,000", "0.620", "4.0x", "3.0x", "2.5x")
    assert cells[4][-3:] == ("0.5x", "3.0x", "2.5x")


def test_without_ours_or_a_measured_memory_cells_are_empty():
    assert table([replace(OTHER, peak_bytes=None)])[1][5:] == ("", "0.620", "", "", "")


def test_both_formats_contain_every_cell():
    rows = [OURS, OTHER]
    assert [line.split() for line in text(rows).splitlines()[1:]] == [list(line) for line in table(rows)[1:]]
    shown = markdown(rows).splitlines()
    assert [cell.strip() for cell in shown[3].strip("|").split("|")] == list(table(rows)[2])
    assert shown[1].count("---:") == len(table(rows)[0])


def paired(framework, difference, seeds=3):
    noise = (0.0, 0.01, -0.01)
    return [replace(OURS, framework=framework, seed=s, accuracy=0.6 + difference + noise[s]) for s in range(seeds)]


def test_accuracies_that_differ_significantly_are_reported():
    rows = [*paired("ours", 0.0), *paired("plain", 0.005), *paired("flower", -0.2)]
    assert disagreements(rows, tests=10) == [
        "flower did not do the same job: accuracy 0.400 with 100 clients, ours 0.600."
    ]


def test_with_fewer_test_images_accuracies_may_differ_more():
    rows = [*paired("ours", 0.0), *paired("plain", 0.06)]
    assert disagreements(rows, tests=10)  # 3 sqrt(2 * 0.6 * 0.4 / 1000 / 3) = 0.038
    assert not disagreements(rows, tests=1)  # 0.12


def test_one_seed_is_not_tested():
    assert not disagreements([*paired("ours", 0.0, 1), *paired("plain", -0.3, 1)], tests=10)
