"""The command `python -m <baseline>.reproduce`, in this process; what it runs is not run."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra_state import hydra_as_new
from toy_replication import lay_out

from common.errors import UserInputError
from common.experiment import cli
from common.replication import report, reproduce


@pytest.fixture
def main(tmp_path, monkeypatch, capfd):
    """Run the command in an empty folder; returns code, out and err."""
    toy = lay_out(tmp_path / "repository", monkeypatch)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["toy.reproduce", *arguments])
        code = reproduce.main(toy, arguments)
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    with hydra_as_new(monkeypatch):
        yield main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nosuch"],
            "FIGURE='nosuch' is not allowed: it must be one of first, second, third.\n",
        ),
        (["first", "demo"], "FIGURE='demo' is not allowed: it must be one of "),
        (["first", "~mu"], "FIGURE='~mu' is not allowed: it must be one of "),
        (["num_rounds=2"], "FIGURE is missing: it must be one of first, second, third.\n"),
        *(
            (["first", key], f"{key} is not allowed: it must be a key of the runs; ")
            for key in (
                *("output_dir=a", "++output_dir=a", "resume=a", "+experiment=third"),
                *("experiment=third", "hydra.sweep.dir=a", "+hydra.x=a", "hydra/launcher=basic"),
            )
        ),
        (["first", "mu=-1"], "mu=-1 is not allowed: it must be greater than or equal to 0."),
        (["first", "num_round=1"], "num_round is not a key of this experiment: did you mean "),
        (["first", "mu=1.0,x"], "mu='x' is not allowed: it must be a number."),
        (
            ["first", "learning_rate=0.1,0.2"],
            "learning_rate=0.1,0.2 is not allowed: it must be one value, for a figure does not ",
        ),
        (["first", "mu='"], "LexerNoViableAltException: mu='"),
    ],
)
def test_what_is_not_allowed_is_one_sentence_and_exit_code_2_and_starts_nothing(
    main, tmp_path, arguments, message
):
    ended = main(*arguments)
    assert ended.code == 2
    assert ended.err.startswith(message)
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    assert list(Path().iterdir()) == []


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


def test_every_figure_is_checked_before_the_first_one_starts(main, sweeps):
    assert main("first", "figure0").code == 2
    assert sweeps.swept == []


def test_figures_are_in_multirun_by_default_and_all_get_the_keys(main, sweeps):
    assert main("third", "num_rounds=2", "first", "mu=0.0,1.0").code == 0
    names = ("third", "first")
    assert sweeps.swept == [
        [
            *("--multirun", f"+experiment={name}", f"output_dir='multirun/{name}'"),
            *("num_rounds=2", "mu=0.0,1.0"),
        ]
        for name in names
    ]
    folders = [Path("multirun") / name for name in names]
    assert [given[1:4] for given in sweeps.reported] == [
        ([folder], folder, folder.name) for folder in folders
    ]


def test_the_report_is_told_in_what_the_runs_differ_from_the_figures(main, sweeps):
    neutral = ("engine=ray", "+repeat_num=range(2)", "seed=3", "client_resources.num_cpus=0.5")
    assert main("third", "num_rounds=2", *neutral, "++mu=1.0").code == 0
    assert [list(changed) for *_, changed in sweeps.reported] == [["num_rounds=2", "++mu=1.0"]]


@pytest.mark.parametrize("code", [1, 2, 130, 143])
def test_the_exit_code_is_that_of_the_first_figure_that_did_not_end_well(main, sweeps, code):
    sweeps.codes["+experiment=first"] = code
    assert main("third", "first", "second").code == code
    assert [arguments[1] for arguments in sweeps.swept] == [
        "+experiment=third",
        "+experiment=first",
    ]
    assert [name for *_, name, _ in sweeps.reported] == ["third"]


def test_words_may_stand_on_both_sides_of_an_option(main, sweeps):
    assert main("third", "--output", "out", "mu=1.0").code == 0
    assert sweeps.swept == [["--multirun", "+experiment=third", "output_dir='out/third'", "mu=1.0"]]


def test_a_report_that_is_refused_is_one_sentence_and_exit_code_2(main, sweeps, monkeypatch):
    def refuse(*given):
        raise UserInputError("the runs are not allowed.")

    monkeypatch.setattr(report, "report_runs", refuse)
    ended = main("third", "first")
    assert (ended.code, ended.err) == (2, "the runs are not allowed.\n")
    assert len(sweeps.swept) == 1
