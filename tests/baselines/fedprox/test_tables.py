import pytest
from fedprox.comparison import compare
from fedprox.tables import tables
from fedprox_runs import FEDAVG, make_arm, make_results, make_run

# Five seeds of twelve rounds, of which the first two do not count.
AVG = (0.40, 0.42, 0.46, 0.46, 0.50)
PROX = (0.50, 0.52, 0.54, 0.56, 0.58)


def curves(accuracies):
    return [(0.0, 1.0, *[accuracy] * 10) for accuracy in accuracies]


def markdown(*arms, name="figure"):
    return tables(compare(make_results(*arms)), name).markdown


def lines(text, heading):
    """Return the table below a heading, without the blanks that make its columns line up."""
    table = text.partition(heading)[2].strip().partition("\n\n")[0]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]


def test_means_intervals_and_paired_differences_are_those_computed_by_hand():
    """Half a 95 % interval of five seeds is 2.7764 s / sqrt(5).

    FedAvg: mean 44.8, s 3.899. FedProx: mean 54, s 3.162. Differences: 10, 10, 8, 10 and 8, of mean
    9.2 and s 1.095.
    """
    made = markdown(make_arm(curves(AVG), **FEDAVG), make_arm(curves(PROX)))
    assert made == (
        "Mean over the last 10 rounds of 5 seeds, ± the 95 % interval:\n\n"
        "| test accuracy (%)          | MNIST, 90 % stragglers |\n"
        "| -------------------------- | ---------------------: |\n"
        "| FedAvg, stragglers dropped |             44.8 ± 4.8 |\n"
        "| FedProx, μ = 1             |             54.0 ± 3.9 |\n\n"
        "Difference to the arm of the first row, in percentage points, seed by seed, with its "
        "95 % interval:\n\n"
        "| points                     | MNIST, 90 % stragglers |\n"
        "| -------------------------- | ---------------------: |\n"
        "| FedAvg, stragglers dropped |                      0 |\n"
        "| FedProx, μ = 1             |             +9.2 ± 1.4 |"
    )


def test_a_lower_arm_has_a_minus():
    made = markdown(make_arm(curves(PROX), **FEDAVG), make_arm(curves(AVG)))
    assert lines(made, "interval:\n\n| points")[-1] == ["FedProx, μ = 1", "-9.2 ± 1.4"]


def test_differences_are_of_the_same_seeds_only():
    reference = make_arm(curves(AVG), **FEDAVG)
    others = [make_run(curve, seed=seed) for seed, curve in enumerate(curves(PROX), 1)]
    made = markdown(reference, others)
    assert lines(made, "with its 95 % interval:")[-1] == ["FedProx, μ = 1", "other seeds"]
    assert made.startswith("Mean over the last 10 rounds of 6 seeds, ")


def test_arms_that_a_panel_has_not_leave_gaps():
    """FedAvg is met at no stragglers, and μ = 0 at 90 %; each other's panel has neither."""
    made = markdown(
        make_arm([(0.25,)], stragglers_fraction=0.0, **FEDAVG),
        make_arm([(0.5,)], stragglers_fraction=0.0, mu=1.0),
        make_arm([(0.75,)], stragglers_fraction=0.9, mu=0.0),
        make_arm([(0.75,)], stragglers_fraction=0.9, mu=1.0),
    )
    assert lines(made, "of seed 0:")[2:] == [
        ["FedAvg, stragglers dropped", "25.0", ""],
        ["FedProx, μ = 1", "50.0", "75.0"],
        ["FedProx, μ = 0", "", "75.0"],
    ]
    assert lines(made, "in percentage points:")[2:] == [
        ["FedAvg, stragglers dropped", "0", ""],
        ["FedProx, μ = 1", "+25.0", ""],
        ["FedProx, μ = 0", "", ""],
    ]


def test_one_seed_has_no_interval_and_few_rounds_are_all_averaged():
    made = markdown([make_run((0.25, 0.5, 0.75, 0.75), seed=7)])
    assert made.startswith("Mean over the last 4 rounds of seed 7:\n\n")
    assert lines(made, "seed 7:")[-1] == ["FedProx, μ = 1", "56.2"]
    assert "±" not in made


def test_a_single_arm_has_no_differences():
    assert "Difference" not in markdown(make_arm(curves(PROX)))


def test_an_accuracy_that_is_not_known_is_told():
    made = markdown(make_arm([(0.5, 0.5), (0.5, None)]))
    assert lines(made, "interval:")[-1] == ["FedProx, μ = 1", "nan"]


def test_rounds_to_a_target_are_counted_where_that_is_the_question():
    """From 98 % in round 1 to 99.5 % in round 2, 99 % is reached after two thirds."""
    runs = make_arm([(0.98, 0.995), (0.98, 0.985), (0.99, 0.2)], partition="iid")
    made = markdown(runs, name="cnn_iid")
    assert lines(made, "Rounds to 99 % test accuracy:") == [
        ["rounds, a number a seed", "MNIST, 90 % stragglers"],
        ["-----------------------", "---------------------:"],
        ["FedProx, μ = 1", "1.7, not reached, 1.0"],
    ]
    assert "Rounds to" not in markdown(runs, name="figure1_mnist")


@pytest.mark.parametrize(("name", "count"), [("figure", 2), ("cnn_iid", 3)])
def test_the_tables_are_there_for_latex_too(name, count):
    panels = compare(make_results(make_arm(curves(AVG), **FEDAVG), make_arm(curves(PROX))))
    latex = tables(panels, name).latex
    assert latex.count("\\begin{tabular}{lr}\n\\toprule\n") == count
    assert latex.startswith("% Mean over the last 10 rounds of 5 seeds, ± the 95 % interval:\n")
    assert "FedProx, $\\mu$ = 1 & 54.0 $\\pm$ 3.9 \\\\\n" in latex
    assert "FedProx, $\\mu$ = 1 & +9.2 $\\pm$ 1.4 \\\\\n" in latex
