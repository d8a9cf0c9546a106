"""The table of a baseline's experiments."""

from dataclasses import replace

from made_runs import write_run
from toy_replication import AVG, FIGURES, TOY, make_arm

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.replication.experiments_table import experiments_table


def row(table, experiment):
    (found,) = [line for line in table.splitlines() if line.startswith(f"| `{experiment}`")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_of_stored_runs_it_says_what_they_took(tmp_path):
    runs = [*make_arm([(0.5,)] * 5, **AVG), *make_arm([(0.75,)] * 5)]
    for number, run in enumerate(runs):
        write_run(tmp_path / str(number), run)
    table = experiments_table(TOY, {"first": Results.of(load_runs([tmp_path]))})
    took = ["10", "5", "10 min 10 s", "a processor, 2 cores, `engine=inline`"]
    assert row(table, "first") == ["`first`", "The first figure", *took]


def test_it_says_why_there_are_no_results():
    second = replace(FIGURES["second"], no_results="it needs a GPU")
    table = experiments_table(replace(TOY, figures=FIGURES | {"second": second}), {})
    assert row(table, "second")[-1] == "no results: it needs a GPU"
    assert row(table, "third")[-1] == "not run"


def test_it_begins_with_the_command():
    assert experiments_table(TOY, {}).startswith("`python -m toy.reproduce EXPERIMENT` makes")
