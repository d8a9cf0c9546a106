"""The command `python -m fedprox.reproduce`, in this process."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from fedprox import report, reproduce
from fedprox.figures import FIGURES
from fedprox_runs import hydra_as_new

from common.experiment import cli

SMALL = (
    *("num_rounds=2", "num_clients=5", "clients_per_round=2", "num_epochs=2"),
    *("+repeat_num=range(2)", "engine=inline"),
)


@pytest.fixture
def main(tmp_path, monkeypatch, capfd):
    """Run the command in an empty folder; returns code, out and err."""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedprox.reproduce", *arguments])
        code = reproduce.main(arguments)
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    with hydra_as_new(monkeypatch):
        yield main


def files(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "FIGURE='nosuch' is not allowed: it must be one of figure1_synthetic, "),
        (["alpha_only", "demo"], "FIGURE='demo' is not allowed: it must be one of "),
        (["alpha_only", "~mu"], "FIGURE='~mu' is not allowed: it must be one of "),
        (["num_rounds=2"], "FIGURE is missing: it must be one of figure1_synthetic, "),
        *(
            (["alpha_only", key], f"{key} is not allowed: it must be a key of the runs; ")
            for key in (
                *("output_dir=a", "++output_dir=a", "resume=a", "+experiment=figure5"),
                *("experiment=figure5", "hydra.sweep.dir=a", "+hydra.x=a", "hydra/launcher=basic"),
            )
        ),
        (["alpha_only", "mu=-1"], "mu=-1 is not allowed: it must be greater than or equal to 0."),
        (["alpha_only", "num_round=1"], "num_round is not a key of this experiment: did you mean "),
        (["alpha_only", "mu=1.0,x"], "mu='x' is not allowed: it must be a number."),
        (
            ["alpha_only", "learning_rate=0.1,0.2"],
            "learning_rate=0.1,0.2 is not allowed: it must be one value, for a figure does not ",
        ),
        (["alpha_only", "mu='"], "LexerNoViableAltException: mu='"),
    ],
)
def test_what_is_not_allowed_is_one_sentence_and_exit_code_2_and_starts_nothing(
    main, tmp_path, arguments, message
):
    ended = main(*SMALL, *arguments)
    assert ended.code == 2
    assert ended.err.startswith(message)
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    assert files(tmp_path) == {}


def test_every_figure_is_checked_before_the_first_one_starts(main, tmp_path):
    assert main(*SMALL, "alpha_only", "figure0").code == 2
    assert files(tmp_path) == {}


def test_a_figure_is_made_in_one_command_and_goes_on_with_what_is_there(main, tmp_path):
    command = ("--output", str(tmp_path / "out"), "alpha_only", *SMALL)
    folder = tmp_path / "out" / "alpha_only"
    ended = main(*command)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("0", "1", "2", "3"),
        *("alpha_only.png", "alpha_only.svg", "multirun.yaml", "table.md", "table.tex"),
    ]
    table = (folder / "table.md").read_text()
    assert table in ended.out
    assert table.startswith("Mean over the last 2 rounds of 2 seeds, ± the 95 % interval:\n\n")
    assert "| Synthetic(0, 0) | Synthetic(1, 0) |" in table
    assert (folder / "alpha_only.png").read_bytes().startswith(b"\x89PNG")
    svg = (folder / "alpha_only.svg").read_text()
    assert FIGURES["alpha_only"].title in svg
    assert "variance of local gradients" in svg

    met = [yaml.safe_load((folder / n / "config.yaml").read_text()) for n in ("0", "1", "2", "3")]
    assert [(run["synthetic_alpha"], run["seed"]) for run in met] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    assert {(run["num_rounds"], run["num_clients"], run["mu"]) for run in met} == {(2, 5, 0)}

    # One run is lost; the others are not made again, and everything comes out as before.
    before = files(folder)
    (folder / "2" / "summary.json").unlink()
    (folder / "alpha_only.png").unlink()
    ended = main(*command)
    assert (ended.code, ended.err) == (0, "")
    complete = re.findall(r"Complete already: results are in .*/(\d)$", ended.out, re.MULTILINE)
    assert complete == ["0", "1", "3"]
    after = files(folder)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"2/summary.json", "2/environment.json", "2/rounds.jsonl", "multirun.yaml"}
    assert json.loads(after["2/summary.json"])["complete"]

    # Other keys in the same folder are another sweep.
    ended = main(*command, "batch_size=5")
    assert ended.code == 2
    assert ended.err.startswith("batch_size=5 is not allowed: it must be 10, as in the run that ")
    assert files(folder) == after


@pytest.fixture
def sweeps(monkeypatch):
    """What would be run and reported, and the exit codes of it."""
    calls = SimpleNamespace(swept=[], reported=[], codes={})

    def sweep(package, schema):
        calls.swept.append(sys.argv[1:])
        return calls.codes.get(sys.argv[2], cli.COMPLETE)

    monkeypatch.setattr(cli, "main", sweep)
    monkeypatch.setattr(report, "report_runs", lambda *given: calls.reported.append(given))
    return calls


def test_figures_are_in_multirun_by_default_and_all_get_the_keys(main, sweeps):
    assert main("figure5", "num_rounds=2", "figure3", "mu=0.0,1.0").code == 0
    names = ("figure5", "figure3")
    assert sweeps.swept == [
        [
            *("--multirun", f"+experiment={name}", f"output_dir='multirun/{name}'"),
            *("num_rounds=2", "mu=0.0,1.0"),
        ]
        for name in names
    ]
    folders = [Path("multirun") / name for name in names]
    assert [given[:3] for given in sweeps.reported] == [
        ([folder], folder, folder.name) for folder in folders
    ]


def test_the_report_is_told_in_what_the_runs_differ_from_the_figures(main, sweeps):
    neutral = ("engine=ray", "+repeat_num=range(2)", "seed=3", "client_resources.num_cpus=0.5")
    assert main("figure5", "num_rounds=2", *neutral, "++mu=1.0").code == 0
    assert [list(changed) for *_, changed in sweeps.reported] == [["num_rounds=2", "++mu=1.0"]]


@pytest.mark.parametrize("code", [1, 2, 130, 143])
def test_the_exit_code_is_that_of_the_first_figure_that_did_not_end_well(main, sweeps, code):
    sweeps.codes["+experiment=figure3"] = code
    assert main("figure5", "figure3", "figure2").code == code
    assert [arguments[1] for arguments in sweeps.swept] == [
        "+experiment=figure5",
        "+experiment=figure3",
    ]
    assert [name for _, _, name, _ in sweeps.reported] == ["figure5"]


def test_words_may_stand_on_both_sides_of_an_option(main, sweeps):
    assert main("figure5", "--output", "out", "mu=1.0").code == 0
    assert sweeps.swept == [
        ["--multirun", "+experiment=figure5", "output_dir='out/figure5'", "mu=1.0"]
    ]


def test_a_folder_may_have_any_name_and_a_report_that_is_refused_is_one_sentence(main, tmp_path):
    place = tmp_path / "it's, (a) = b's $x é"
    arguments = (
        *("--output", str(place), "mu_grid_synthetic", *SMALL[:4], "engine=inline"),
        *("+repeat_num=0", "+method=fedprox_mu0"),
    )
    ended = main(*arguments)
    assert (ended.code, ended.err) == (0, "")
    folder = place / "mu_grid_synthetic"
    assert (folder / "mu_grid_synthetic.png").is_file()

    # Somebody puts another run beside those of the sweep.
    (folder / "other").mkdir()
    for file in ("config.yaml", "rounds.jsonl", "summary.json"):
        (folder / "other" / file).write_bytes((folder / "0" / file).read_bytes())
    ended = main(*arguments)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "it must have one run of a seed" in ended.err
