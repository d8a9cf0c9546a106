from dataclasses import replace

import pytest
from made_runs import make_results
from toy_replication import AVG, PANEL, POOLED, TOY, make_arm, make_run

from common.replication.comparison import compare
from common.replication.tables import tables

# Five seeds of twelve rounds, of which the first two do not count.
LOW = (0.40, 0.42, 0.46, 0.46, 0.50)
HIGH = (0.50, 0.52, 0.54, 0.56, 0.58)


def curves(accuracies):
    return [(0.0, 1.0, *[accuracy] * 10) for accuracy in accuracies]


def markdown(*arms, name="figure"):
    return tables(TOY, compare(TOY, make_results(*arms)), name).markdown


def lines(text, heading):
    """Return the table below a heading, without the blanks that make its columns line up."""
    assert heading in text
    table = text.partition(heading)[2].strip().partition("\n\n")[0]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]


def test_means_intervals_and_paired_differences_are_those_computed_by_hand():
    """Half a 95 % interval of five seeds is 2.7764 s / sqrt(5).

    FedAvg: mean 44.8, s 3.899. FedProx: mean 54, s 3.162. Differences: 10, 10, 8, 10 and 8, of mean
    9.2 and s 1.095.
    """
    made = markdown(make_arm(curves(LOW), **AVG), make_arm(curves(HIGH)))
    assert made == (
        "Mean over the last 10 rounds of 5 seeds, ± the 95 % interval:\n\n"
        "| test accuracy (%) |      Hills |\n"
        "| ----------------- | ---------: |\n"
        "| FedAvg            | 44.8 ± 4.8 |\n"
        "| FedProx, μ = 1    | 54.0 ± 3.9 |\n\n"
        "Difference to the arm of the first row, in percentage points, seed by seed, with its "
        "95 % interval:\n\n"
        "| points         |      Hills |\n"
        "| -------------- | ---------: |\n"
        "| FedAvg         |          0 |\n"
        "| FedProx, μ = 1 | +9.2 ± 1.4 |"
    )


def test_a_lower_arm_has_a_minus():
    made = markdown(make_arm(curves(HIGH), **AVG), make_arm(curves(LOW)))
    assert lines(made, "with its 95 % interval:")[-1] == ["FedProx, μ = 1", "-9.2 ± 1.4"]


def test_a_stopped_run_has_no_last_rounds_but_a_best_one_and_bytes():
    """It is stopped after two rounds of four: 2 MB and 3 MB were sent."""
    sent = {"bytes_up": (2e6, 3e6)}
    stopped = make_run((0.25, 0.5), num_rounds=4, metrics={**sent, "bytes_down": (0, 0)})
    stopped = replace(stopped, summary={"rounds": 2, "stopped": "It failed."})
    made = markdown([stopped], name="third")
    assert lines(made, "Mean over the last 4 rounds of seed 0:")[-1] == ["FedProx, μ = 1", "nan"]
    assert lines(made, "Best round, seed 0:")[-1] == ["FedProx, μ = 1", "50.0"]
    assert lines(made, "Last round, seed 0:")[-1] == ["FedProx, μ = 1", "nan"]
    assert lines(made, "Sent by all clients in all rounds, seed 0:")[-1][1:] == ["5.0"]


def test_differences_are_of_the_same_seeds_only():
    others = [make_run(curve, seed=seed) for seed, curve in enumerate(curves(HIGH), 1)]
    made = markdown(make_arm(curves(LOW), **AVG), others)
    assert lines(made, "with its 95 % interval:")[-1] == ["FedProx, μ = 1", "other seeds"]
    assert made.startswith("Mean over the last 10 rounds of 5 seeds an arm, ")


def test_arms_of_more_seeds_than_others_are_told():
    made = markdown(make_arm(curves(LOW), **AVG), make_arm(curves(HIGH)[:1]))
    assert made.startswith("Mean over the last 10 rounds of 1 to 5 seeds an arm, ")


def test_differences_are_to_the_arm_that_the_figure_names():
    arms = [
        make_arm([(0.25,)], alpha=0.1, **AVG),
        make_arm([(0.25,)], alpha=1.0, **AVG),
        make_arm([(0.5,)], alpha=1.0, **POOLED),
    ]
    heading = "Difference to pooled data, in percentage points:"
    assert lines(markdown(*arms, name="third"), heading)[2:] == [
        ["FedAvg", "", "-25.0"],
        ["pooled data", "", "0"],
    ]
    without = markdown(make_arm([(0.25,)], **AVG), make_arm([(0.5,)]), name="third")
    first = "Difference to the arm of the first row, in percentage points:"
    assert lines(without, first)[2:] == [["FedAvg", "0"], ["FedProx, μ = 1", "+25.0"]]


def test_arms_that_a_panel_has_not_leave_gaps():
    """FedAvg is met at alpha 0.1, and μ = 0 at 1; each other's panel has neither."""
    made = markdown(
        make_arm([(0.25,)], alpha=0.1, **AVG),
        make_arm([(0.5,)], alpha=0.1, mu=1.0),
        make_arm([(0.75,)], alpha=1.0, mu=0.0),
        make_arm([(0.75,)], alpha=1.0, mu=1.0),
    )
    assert lines(made, "of seed 0:")[2:] == [
        ["FedAvg", "25.0", ""],
        ["FedProx, μ = 1", "50.0", "75.0"],
        ["FedProx, μ = 0", "", "75.0"],
    ]
    assert lines(made, "in percentage points:")[2:] == [
        ["FedAvg", "0", ""],
        ["FedProx, μ = 1", "+25.0", ""],
        ["FedProx, μ = 0", "", ""],
    ]


def test_one_seed_has_no_interval_and_few_rounds_are_all_averaged():
    made = markdown([make_run((0.25, 0.5, 0.75, 0.75), seed=7)])
    assert made.startswith("Mean over the last 4 rounds of seed 7:\n\n")
    assert lines(made, "seed 7:")[-1] == ["FedProx, μ = 1", "56.2"]
    assert "±" not in made


def test_arms_of_fewer_rounds_than_others_are_averaged_over_those():
    long = make_arm(curves([0.5, 0.5]))
    short = make_arm([(0.25, 0.75), (0.25, 0.75)], **POOLED)
    single = make_arm([(0.75,), (0.75,)], **AVG)
    made = markdown(long, short, single)
    heading = (
        "Mean over the last 10 rounds, or all of fewer, of 2 seeds, ± the 95 % interval; "
        "arms have 2 to 12 rounds:"
    )
    assert lines(made, heading)[2:] == [
        ["FedAvg", "75.0 ± 0.0"],
        ["pooled data", "50.0 ± 0.0"],
        ["FedProx, μ = 1", "50.0 ± 0.0"],
    ]
    # A mean over the last ten rounds is one, however many there were before.
    longer = make_arm([(0.5,) * 20] * 2, **POOLED)
    assert "fewer" not in markdown(long, longer)


def test_a_single_arm_has_no_differences():
    assert "Difference" not in markdown(make_arm(curves(HIGH)))


def test_an_accuracy_that_is_not_known_is_told():
    made = markdown(make_arm([(0.5, 0.5), (0.5, None)]))
    assert lines(made, "interval:")[-1] == ["FedProx, μ = 1", "nan"]


def test_other_metrics_have_a_table_in_their_own_digits_of_the_arms_that_have_them():
    made = markdown(
        [make_run((0.5, 0.5), metrics={"drift": (1.25, 1.5)}, alpha=0.1)],
        [make_run((0.5, 0.5), metrics={"drift": (1.25, 2.5)}, alpha=1.0)],
        [make_run((0.75,), **POOLED, alpha=1.0)],
    )
    assert lines(made, "Mean over the last 2 rounds of seed 0:") == [
        ["drift", "alpha = 0.1", "alpha = 1"],
        ["--------------", "----------:", "--------:"],
        ["FedProx, μ = 1", "1.38", "1.88"],
    ]
    assert "training loss" not in made


def test_rounds_to_a_target_are_counted_where_that_is_the_question():
    """From 98 % in round 1 to 99.5 % in round 2, 99 % is reached after two thirds."""
    runs = make_arm([(0.98, 0.995), (0.98, 0.985), (0.99, 0.2)])
    made = markdown(runs, name="second")
    assert lines(made, "Rounds to 99 % test accuracy:") == [
        ["rounds, a number a seed", PANEL],
        ["-----------------------", "--------------------:"],
        ["FedProx, μ = 1", "1.7, not reached, 1.0"],
    ]
    assert "Rounds to" not in markdown(runs, name="first")


def test_a_figure_has_the_statistics_that_it_asks_for():
    traffic = {"bytes_up": (1e6, 2e6), "bytes_down": (1234e6, 1.0)}
    runs = make_arm([(0.75, 0.5), (0.25, 0.25)], metrics=traffic)
    anchor = make_arm([(0.5,), (0.5,)], **POOLED)
    made = markdown(runs, anchor, name="third")
    name, of_seeds = "FedProx, μ = 1", "mean of 2 seeds, ± the 95 % interval:"
    assert lines(made, f"Best round, {of_seeds}")[2:] == [
        ["pooled data", "50.0 ± 0.0"],
        [name, "50.0 ± 317.7"],  # 25 points times 12.706, of one degree of freedom.
    ]
    assert lines(made, f"Last round, {of_seeds}")[-1] == [name, "37.5 ± 158.8"]
    assert lines(made, f"Sent by all clients in all rounds, {of_seeds}") == [
        ["MB up", PANEL],
        ["--------------", "--------:"],
        [name, "3.0 ± 0.0"],  # Pooled data are sent nowhere.
    ]
    down = lines(made, f"Sent to all clients in all rounds, {of_seeds}")
    assert (down[0], down[-1]) == (["MB down", PANEL], [name, "1,234.0 ± 0.0"])
    assert "Best round, seed 0:" in markdown(runs[:1], name="third")
    assert "round, mean" not in markdown(runs, name="first")


def test_all_but_accuracies_and_differences_are_folded_on_a_page():
    traffic = {"bytes_up": (1e6, 2e6), "bytes_down": (1.0, 1.0), "drift": (1.0, 2.0)}
    runs = [make_run((0.25, 0.5), metrics=traffic), make_run((0.5, 0.5), **AVG)]
    made = tables(TOY, compare(TOY, make_results(runs)), "third")
    assert [table.name for table in made.main] == ["test accuracy", "differences"]
    names = [
        *("drift", "best round", "last round"),
        *("sent by all clients in all rounds", "sent to all clients in all rounds"),
    ]
    assert [table.name for table in made.more] == names
    main = made._replace(more=()).markdown
    more = made._replace(main=()).markdown
    assert made.markdown == f"{main}\n\n{more}"
    assert made.folded_markdown == (
        f"{main}\n\n<details>\n<summary>More tables: {', '.join(names)}</summary>\n\n{more}\n\n"
        "</details>"
    )


def test_a_single_further_table_is_folded_and_none_is_not():
    panels = compare(TOY, make_results([make_run((0.25, 0.5), metrics={"drift": (1.0, 2.0)})]))
    assert "<summary>Another table: drift</summary>" in tables(TOY, panels, "first").folded_markdown
    without = tables(TOY, compare(TOY, make_results([make_run((0.25, 0.5))])), "first")
    assert without.folded_markdown == without.markdown
    strange = without._replace(more=[without.main[0]._replace(name="a < b & c")])
    assert "<summary>Another table: a &lt; b &amp; c</summary>" in strange.folded_markdown


@pytest.mark.parametrize(("name", "count"), [("figure", 2), ("second", 3)])
def test_the_tables_are_there_for_latex_too(name, count):
    panels = compare(TOY, make_results(make_arm(curves(LOW), **AVG), make_arm(curves(HIGH))))
    latex = tables(TOY, panels, name).latex
    assert latex.count("\\begin{tabular}{lr}\n\\toprule\n") == count
    assert latex.startswith("% Mean over the last 10 rounds of 5 seeds, ± the 95 % interval:\n")
    assert "FedProx, $\\mu$ = 1 & 54.0 $\\pm$ 3.9 \\\\\n" in latex
    assert "FedProx, $\\mu$ = 1 & +9.2 $\\pm$ 1.4 \\\\\n" in latex
