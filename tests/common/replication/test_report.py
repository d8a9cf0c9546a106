"""The command `python -m <baseline>.report`."""

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import escape

import pytest
from made_runs import make_results, write_run
from no_figures import draw_nothing
from toy_replication import AVG, FIGURES, POOLED, TOY, lay_out, make_arm, make_run

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.errors import UserInputError
from common.replication import report
from common.replication.comparison import compare
from common.replication.definition import MoreFigure
from common.replication.tables import tables


@pytest.fixture
def sweep(tmp_path):
    """Two arms, a seed each."""
    for number, keys in enumerate((AVG, {"mu": 1.0})):
        write_run(tmp_path / "sweep" / str(number), make_run((0.25, 0.5), **keys))
    return tmp_path / "sweep"


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """The relative folder of the toy leads to its defaults."""
    monkeypatch.chdir(lay_out(tmp_path / "installed", monkeypatch).folder.parent)


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(report, "draw", draw_nothing)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    return lay_out(tmp_path / "repository", monkeypatch)


def main(*arguments, toy=TOY):
    return report.main(toy, [*map(str, arguments)])


def left(folder):
    return sorted(file.name for file in folder.iterdir() if file.is_file())


def test_the_command_prints_the_tables_and_leaves_tables_and_figures(sweep, capsys):
    assert main(sweep) == 0
    out, err = capsys.readouterr()
    made = tables(TOY, compare(TOY, Results.of(load_runs([sweep]))), "figure")
    assert "| FedProx, μ = 1    |  37.5 |" in made.markdown
    files = f"Figure: {sweep / 'figure.png'}\nPage: {sweep / 'figure.html'}\n"
    assert out == f"\n{made.markdown}\n\n{files}"
    assert err == ""
    assert left(sweep) == ["figure.html", "figure.png", "figure.svg", "table.md", "table.tex"]
    assert (sweep / "table.md").read_text() == made.markdown + "\n"
    assert (sweep / "table.tex").read_text() == made.latex + "\n"
    assert (sweep / "figure.png").read_bytes().startswith(b"\x89PNG")
    root = ET.parse(sweep / "figure.svg").getroot()
    assert "FedProx, μ = 1" in {"".join(node.itertext()) for node in root.iter()}


def test_several_folders_are_compared_with_each_other(sweep, tmp_path, no_figures, capsys):
    write_run(tmp_path / "other", make_run((0.75,), mu=0.0))
    assert main(tmp_path / "other", sweep) == 0
    out = capsys.readouterr().out
    assert [line.split("  ")[0] for line in out.splitlines() if line.startswith("| Fed")][:3] == [
        "| FedAvg",
        "| FedProx, μ = 0",
        "| FedProx, μ = 1",
    ]
    assert (tmp_path / "other" / "figure.png").exists()


def test_a_run_that_has_not_ended_is_left_out_and_named(sweep, no_figures, capsys):
    assert main(sweep) == 0
    assert "Left out" not in capsys.readouterr().out
    (sweep / "1" / "summary.json").unlink()
    assert main(sweep) == 0
    assert f"\nLeft out, for it has not ended: {sweep / '1'}\n" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["{runs} --output {new}", "--output {new} {runs}"])
def test_output_goes_elsewhere_on_demand(sweep, tmp_path, no_figures, order):
    new = tmp_path / "new" / "place"
    assert main(*order.format(runs=f"{sweep / '0'} {sweep / '1'}", new=new).split()) == 0
    assert (new / "figure.png").is_file()
    assert left(sweep) == []


def test_folders_may_stand_on_both_sides_of_an_option(sweep, tmp_path, no_figures, capsys):
    assert main(sweep / "0", "--output", tmp_path, sweep / "1") == 0
    assert "| FedAvg" in capsys.readouterr().out


def refusal(capsys, *arguments, toy=TOY):
    assert main(*arguments, toy=toy) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert out == ""
    return err


def test_a_folder_without_runs_is_one_sentence_and_exit_code_2(tmp_path, capsys):
    assert "it must hold at least one complete run" in refusal(capsys, tmp_path)
    assert "it must be a folder that can be read" in refusal(capsys, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("rounds.jsonl", ""),
        ("rounds.jsonl", '{"round": 1}\n'),
        ("rounds.jsonl", '{"round": 1, "test_accuracy": 0.5}\n'),  # Of two.
        ("summary.json", "[]"),
        ("environment.json", "{"),
        ("config.yaml", ""),
        ("config.yaml", "algorithm: prox\n"),
        ("config.yaml", "seed: 1" + 5000 * "0"),
    ],
)
def test_a_damaged_run_is_one_sentence_and_exit_code_2(sweep, capsys, file, content):
    (sweep / "1" / file).write_text(content)
    assert f"{sweep / '1' / file}" in refusal(capsys, sweep)
    assert left(sweep) == []


@pytest.mark.parametrize(
    "line",
    [
        "algorithm: sgd",
        "mu: -1.0",
        "mu: .inf",
        "mu: [1.0]",
        "mu: true",
        "alpha: '1'",  # Which would be a number in a table.
        "dataset: ''",
        "dataset: null",
        "seed: -1",
        "num_epochs: {a: [1]}",
    ],
)
def test_a_configuration_that_cannot_be_compared_is_one_sentence_and_exit_code_2(
    sweep, capsys, line
):
    with (sweep / "1" / "config.yaml").open("a") as file:
        file.write(f"{line}\n")  # Of a key that is there twice, the latter counts.
    assert f" in '{sweep / '1' / 'config.yaml'}' is not allowed: " in refusal(capsys, sweep)


def test_runs_that_cannot_be_compared_are_one_sentence_and_exit_code_2(tmp_path, capsys):
    for number, keys in enumerate(({"num_epochs": 1}, {"num_epochs": 2, "seed": 1})):
        write_run(tmp_path / "runs" / str(number), make_run(**keys))
    assert refusal(capsys, tmp_path / "runs").endswith(" in seed only, but num_epochs is 1 or 2.\n")


def test_an_output_that_cannot_be_written_is_one_sentence_and_exit_code_2(sweep, capsys):
    output = sweep / "0" / "summary.json" / "below"
    assert refusal(capsys, sweep, "--output", output).startswith(f"--output='{output}' is not ")


def test_a_run_without_any_accuracy_is_reported(tmp_path, capsys):
    write_run(tmp_path / "run", make_run((None, None)))
    assert main(tmp_path / "run") == 0
    assert "nan |" in capsys.readouterr().out


def test_runs_are_stored_and_everything_is_made_from_them(sweep, toy, capsys):
    assert main(sweep, "--store", "first", toy=toy) == 0
    assert left(sweep) == ["first.html", "first.png", "first.svg", "table.md", "table.tex"]
    made = sorted([f"first.{suffix}" for suffix in ("csv", "parquet", "png", "tex")])
    assert left(toy.results) == ["claims.json", *made]
    assert (toy.results / "first.png").read_bytes() == (sweep / "first.png").read_bytes()
    assert (toy.results / "first.tex").read_text() == (sweep / "table.tex").read_text()
    # All of it, though some of it folded.
    blocks = (sweep / "table.md").read_text().rstrip().split("\n\n")
    for page in (toy.readme, toy.page):
        assert [block for block in blocks if block not in page.read_text()] == []
    (claim,) = json.loads((toy.results / "claims.json").read_text())
    assert claim["value"] == 0
    assert "\nfirst: 2 runs\n" in capsys.readouterr().out


def test_without_runs_everything_is_made_anew_from_what_is_stored(toy, no_figures, capsys):
    results = make_results(make_arm([(0.5,)], **AVG), make_arm([(0.75,)]))
    results.save(toy.results, "first")
    make_results(make_arm([(0.5,)])).save(toy.results, "third")
    assert main(toy=toy) == 0
    assert capsys.readouterr().out == "first: 2 runs\nthird: 1 runs\n"
    for name in ("first", "third"):
        assert {f"{name}.png", f"{name}.tex"} < {*left(toy.results)}
    files = sorted(toy.results.parents[2].rglob("*.*"))
    once = [file.read_bytes() for file in files]
    assert main(toy=toy) == 0
    assert [file.read_bytes() for file in files] == once
    assert "75.0" in toy.page.read_text()


def with_accuracies(toy):
    """The toy with a figure of its own, a text alone: who has what accuracy, and the heading."""

    def more_figures(panels, figure):
        arms = {name: runs.curves("test_accuracy") for name, runs in panels["Hills"].items()}
        text = "; ".join(f"{name} {curves.tolist()}" for name, curves in arms.items())

        def draw(path):
            told = escape(f"{figure.title}: {text}")
            path.write_text(
                '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'
                f"<text>{told}</text></svg>"
            )

        return [MoreFigure("accuracy", "Accuracies", draw)]

    return replace(toy, more_figures=more_figures)


def test_a_baseline_has_figures_of_its_own(sweep, toy, no_figures, capsys):
    toy = with_accuracies(toy)
    (toy.results / "first.of_once.png").touch()
    (toy.results / "second.accuracy.png").touch()
    assert main(sweep, "--store", "first", toy=toy) == 0
    drawn = "FedAvg [[0.25, 0.5]]; FedProx, μ = 1 [[0.25, 0.5]]"
    for file in ("first.accuracy.png", "first.accuracy.svg"):
        assert f">The first figure: {drawn}<" in (sweep / file).read_text()
    assert f">The first figure: {drawn}<" in (sweep / "first.html").read_text()
    stored = toy.results / "first.accuracy.png"
    assert f">The first figure: {drawn}<" in stored.read_text()
    assert [file for file in left(toy.results) if file.count(".") > 1] == [stored.name]
    for page in (toy.readme, toy.page):
        picture = page.read_text().partition("![Accuracies](")[2].partition(")")[0]
        assert (page.parent / picture).resolve() == stored


def test_the_heading_of_such_a_figure_tells_what_differs(sweep, toy, no_figures, tmp_path):
    report.report_runs(with_accuracies(toy), [sweep], tmp_path, "first", ["num_rounds=2"])
    drawn = (tmp_path / "first.accuracy.png").read_text()
    assert "<text>The first figure, but num_rounds=2: " in drawn


def test_figures_of_results_that_are_gone_go_too(toy):
    for suffix in ("png", "tex"):
        (toy.results / f"second.{suffix}").write_text("of once")
    assert main(toy=toy) == 0
    assert left(toy.results) == ["claims.json"]


def test_runs_of_another_experiment_are_not_stored(sweep, toy, capsys):
    assert refusal(capsys, sweep, "--store", "second", toy=toy) == (
        "--store=second is not allowed: num_epochs of RUNS must be 1, as in that experiment, but "
        "is 2.\n"
    )
    assert left(toy.results) == []


def test_arms_may_differ_in_the_keys_that_the_baseline_names(sweep, toy, no_figures, capsys):
    write_run(sweep / "2", make_run((0.5,), num_epochs=10, **POOLED))
    assert refusal(capsys, sweep, "--store", "third", toy=toy) == (
        "--store=third is not allowed: num_epochs of RUNS must be 2, as in that experiment, but "
        "is 10.\n"
    )
    toy = replace(toy, also_differ=frozenset({"num_epochs"}))
    assert main(sweep, "--store", "third", toy=toy) == 0
    assert Results.load(toy.results, "third").rounds.groupby("run").size().tolist() == [2, 1, 2]


def test_runs_that_lack_what_a_claim_is_about_are_not_stored(sweep, toy, capsys):
    before = make_results(make_arm([(0.5,)], **AVG), make_arm([(0.75,)]))
    before.save(toy.results, "first")
    files = {file.name: file.read_bytes() for file in toy.results.iterdir()}
    shutil.rmtree(sweep / "1")  # The claim is about both arms.
    message = refusal(capsys, sweep, "--store", "first", toy=toy)
    assert message.startswith("claim 'prox-helps': ")
    assert {file.name: file.read_bytes() for file in toy.results.iterdir()} == files


def test_runs_that_lack_what_a_part_of_a_page_is_about_are_not_stored(sweep, toy, capsys):
    def more_parts(stored):
        raise UserInputError(f"{', '.join(stored)} is not allowed.")

    toy = replace(toy, more_parts=more_parts)
    assert refusal(capsys, sweep, "--store", "first", toy=toy) == "first is not allowed.\n"
    assert left(toy.results) == []


def test_without_anything_stored_the_pages_say_so(toy):
    assert main(toy=toy) == 0
    assert left(toy.results) == ["claims.json"]
    assert "Not run yet: there are no stored results." in toy.page.read_text()
    assert "could not be tested here" in toy.page.read_text()


def test_damaged_results_are_one_sentence_and_exit_code_2(toy, capsys):
    (toy.results / "first.csv").write_text("a,b\n1,2\n")
    assert "first.csv" in refusal(capsys, toy=toy)


@pytest.mark.parametrize("content", ["[]", "- id: ["])
def test_damaged_claims_are_one_sentence_and_leave_everything_as_it_was(toy, capsys, content):
    make_results([make_run()]).save(toy.results, "first")
    before = left(toy.results), toy.page.read_text()
    toy.claims.write_text(content)
    assert "claims.yaml' is not allowed" in refusal(capsys, toy=toy)
    assert (left(toy.results), toy.page.read_text()) == before


def test_stored_results_that_cannot_be_compared_are_one_sentence_and_exit_code_2(toy, capsys):
    make_results([make_run(num_epochs=e, seed=e) for e in (1, 2)]).save(toy.results, "third")
    assert refusal(capsys, toy=toy).endswith("num_epochs is 1 or 2.\n")


def test_results_that_cannot_be_written_are_one_sentence_and_exit_code_1(
    sweep, toy, no_figures, capsys
):
    toy.results.rmdir()
    toy.results.write_text("a file")
    assert main(sweep, "--store", "third", toy=toy) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"'{toy.results}' could not be written" in err


def test_a_figure_that_cannot_be_written_is_one_sentence_and_exit_code_1(toy, capsys):
    make_results([make_run()]).save(toy.results, "third")
    (toy.results / "third.png").mkdir()
    assert main(toy=toy) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "could not be written" in err


def test_runs_are_stored_for_an_experiment_that_there_is(sweep, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(sweep, "--store", "nosuch")
    err = capsys.readouterr().err
    assert [name for name in FIGURES if name not in err] == []
    assert left(sweep) == []


def test_there_must_be_runs_to_store(toy, capsys):
    message = refusal(capsys, "--store", "third", toy=toy)
    assert message.startswith("--store=third is not allowed: ")
    assert left(toy.results) == []


def test_runs_that_have_not_all_ended_are_not_stored(sweep, toy, capsys):
    (sweep / "1" / "summary.json").unlink()
    message = refusal(capsys, sweep, "--store", "third", toy=toy)
    assert message.startswith("--store=third is not allowed: ")
    assert str(sweep / "1") in message
    assert left(toy.results) == left(sweep) == []
