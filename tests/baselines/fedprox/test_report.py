import json
from pathlib import Path

import pytest
import yaml
from fedprox.report import ComparedKeys, accuracy_table, arm_name, group_by_stragglers, main

from common.analysis.runs import Run, load_runs
from common.errors import UserInputError


def config(algorithm="fedprox", mu=1.0, adaptive_mu=False, stragglers_fraction=0.9, seed=0):
    return {
        "algorithm": algorithm,
        "mu": mu,
        "adaptive_mu": adaptive_mu,
        "stragglers_fraction": stragglers_fraction,
        "seed": seed,
    }


def run(accuracy=0.5, **keys):
    rounds = [{"round": i, "test_accuracy": accuracy} for i in range(1, 13)]
    return Run(config(**keys), rounds, {}, Path("run"))


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"algorithm": "fedavg", "mu": 0.0}, "FedAvg, stragglers dropped"),
        ({"mu": 0.0}, "FedProx, μ = 0"),
        ({"mu": 0.001}, "FedProx, μ = 0.001"),
        ({"mu": 0.12345678}, "FedProx, μ = 0.12345678"),
        ({"mu": 1.0, "adaptive_mu": True}, "FedProx, adaptive μ from 1"),
    ],
)
def test_arms_are_named_as_in_the_paper(keys, name):
    assert arm_name(run(**keys).config_as(ComparedKeys)) == name


def test_the_table_averages_over_seeds_and_leaves_gaps_empty():
    runs = [run(0.4, seed=0), run(0.6, seed=1), run(0.2, algorithm="fedavg", stragglers_fraction=0)]
    assert accuracy_table(group_by_stragglers(runs)).splitlines()[2:] == [
        "| FedAvg, stragglers dropped |           20.0 |                 |",
        "| FedProx, μ = 1             |                |            50.0 |",
    ]


def test_runs_that_differ_in_something_else_are_refused():
    with pytest.raises(UserInputError, match="same seed"):
        group_by_stragglers([run(0.4), run(0.6)])


@pytest.fixture
def sweep(tmp_path):
    for number, fraction in enumerate((0.0, 0.9)):
        folder = tmp_path / "sweep" / str(number)
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config(stragglers_fraction=fraction)))
        (folder / "rounds.jsonl").write_text(json.dumps({"round": 1, "test_accuracy": 0.25}) + "\n")
        (folder / "summary.json").write_text("{}")
    return tmp_path / "sweep"


def test_the_command_prints_the_table_and_leaves_table_and_figures(sweep, capsys):
    assert main([str(sweep)]) == 0
    printed = capsys.readouterr().out
    table = accuracy_table(group_by_stragglers(load_runs([sweep])))
    assert "25.0" in table
    assert table in printed
    assert str(sweep / "figure.png") in printed
    assert (sweep / "table.md").read_text() == table + "\n"
    assert (sweep / "figure.svg").is_file()


def test_a_run_that_has_not_ended_is_left_out_and_named(sweep, capsys):
    assert main([str(sweep)]) == 0
    assert "Left out" not in capsys.readouterr().out
    (sweep / "1" / "summary.json").unlink()
    assert main([str(sweep)]) == 0
    assert f"\nLeft out, for it has not ended: {sweep / '1'}\n" in capsys.readouterr().out


def test_output_goes_elsewhere_on_demand(sweep, tmp_path):
    assert main([str(sweep), "--output", str(tmp_path / "new" / "place")]) == 0
    assert (tmp_path / "new" / "place" / "figure.png").is_file()
    assert not (sweep / "figure.png").exists()


def test_a_folder_without_runs_is_one_sentence_and_exit_code_2(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("keys", "rule"),
    [
        ({"algorithm": "sgd"}, "algorithm='sgd' in 'run/config.yaml' is not allowed: it must be"),
        ({"mu": -1.0}, "mu=-1.0 in "),
        ({"mu": float("inf")}, "mu=inf in "),
        ({"adaptive_mu": "yes"}, "adaptive_mu='yes' in "),
        ({"stragglers_fraction": 1e308}, "stragglers_fraction=1e\\+308 in "),
        ({"seed": 10**5000}, "seed=<a huge integer> in "),
    ],
)
def test_a_configuration_that_cannot_be_compared_is_refused(keys, rule):
    with pytest.raises(UserInputError, match=f"^{rule}"):
        group_by_stragglers([run(**keys)])


def test_more_panels_than_a_figure_can_have_are_refused():
    with pytest.raises(UserInputError, match="RUNS hold 21 values of stragglers_fraction"):
        group_by_stragglers([run(stragglers_fraction=i / 100) for i in range(21)])


def test_a_run_without_rounds_is_one_sentence_and_exit_code_2(sweep, capsys):
    (sweep / "0" / "rounds.jsonl").write_text("")
    assert main([str(sweep)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (sweep / "table.md").exists()


def test_an_output_that_cannot_be_written_is_one_sentence_and_exit_code_2(sweep, capsys):
    assert main([str(sweep), "--output", str(sweep / "0" / "summary.json" / "below")]) == 2
    assert "--output='" in capsys.readouterr().err
