"""The command `python -m fedprox.report`."""

import json
import shutil
import xml.etree.ElementTree as ET

import pytest
from fedprox.comparison import compare
from fedprox.figures import FIGURES
from fedprox.report import main
from fedprox.tables import tables
from fedprox_runs import FEDAVG, lay_out, make_arm, make_results, make_run, write_run

from common.analysis.results import Results
from common.analysis.runs import load_runs


@pytest.fixture
def sweep(tmp_path):
    """Two arms at 90 % stragglers, a seed each."""
    for number, keys in enumerate((FEDAVG, {"mu": 1.0})):
        write_run(tmp_path / "sweep" / str(number), make_run((0.25, 0.5), **keys))
    return tmp_path / "sweep"


@pytest.fixture
def no_figures(monkeypatch):
    """Figures are empty files, for what does not look at them."""
    monkeypatch.setattr(
        "fedprox.report.draw", lambda panels, name, path, changed=(): path.write_bytes(b"")
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    return lay_out(tmp_path / "repository", monkeypatch)


def left(folder):
    return sorted(file.name for file in folder.iterdir() if file.is_file())


def test_the_command_prints_the_tables_and_leaves_tables_and_figures(sweep, capsys):
    assert main([str(sweep)]) == 0
    out, err = capsys.readouterr()
    made = tables(compare(Results.of(load_runs([sweep]))), "figure")
    assert "| FedProx, μ = 1             |                   37.5 |" in made.markdown
    assert out == f"\n{made.markdown}\n\nFigure: {sweep / 'figure.png'}\n"
    assert err == ""
    assert left(sweep) == ["figure.png", "figure.svg", "table.md", "table.tex"]
    assert (sweep / "table.md").read_text() == made.markdown + "\n"
    assert (sweep / "table.tex").read_text() == made.latex + "\n"
    assert (sweep / "figure.png").read_bytes().startswith(b"\x89PNG")
    root = ET.parse(sweep / "figure.svg").getroot()
    assert "FedProx, μ = 1" in {"".join(node.itertext()) for node in root.iter()}


def test_several_folders_are_compared_with_each_other(sweep, tmp_path, no_figures, capsys):
    write_run(tmp_path / "other", make_run((0.75,), mu=0.0))
    assert main([str(tmp_path / "other"), str(sweep)]) == 0
    out = capsys.readouterr().out
    assert [line.split("  ")[0] for line in out.splitlines() if line.startswith("| Fed")][:3] == [
        "| FedAvg, stragglers dropped |",
        "| FedProx, μ = 0",
        "| FedProx, μ = 1",
    ]
    assert (tmp_path / "other" / "figure.png").exists()


def test_a_run_that_has_not_ended_is_left_out_and_named(sweep, no_figures, capsys):
    assert main([str(sweep)]) == 0
    assert "Left out" not in capsys.readouterr().out
    (sweep / "1" / "summary.json").unlink()
    assert main([str(sweep)]) == 0
    assert f"\nLeft out, for it has not ended: {sweep / '1'}\n" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["{runs} --output {new}", "--output {new} {runs}"])
def test_output_goes_elsewhere_on_demand(sweep, tmp_path, no_figures, order):
    new = tmp_path / "new" / "place"
    words = order.format(runs=f"{sweep / '0'} {sweep / '1'}", new=new).split()
    assert main(words) == 0
    assert (new / "figure.png").is_file()
    assert left(sweep) == []


def test_folders_may_stand_on_both_sides_of_an_option(sweep, tmp_path, no_figures, capsys):
    assert main([str(sweep / "0"), "--output", str(tmp_path), str(sweep / "1")]) == 0
    assert "| FedAvg" in capsys.readouterr().out


def refusal(capsys, *arguments):
    assert main([*map(str, arguments)]) == 2
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
        ("config.yaml", "algorithm: fedprox\n"),
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
        "adaptive_mu: 1",
        "stragglers_fraction: 2.0",
        "partition: '1'",  # Which would be a number in a table.
        "partition: ''",
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
    assert main([str(tmp_path / "run")]) == 0
    assert "nan |" in capsys.readouterr().out


def test_runs_are_stored_and_everything_is_made_from_them(sweep, place, capsys):
    assert main([str(sweep), "--store", "figure1_mnist"]) == 0
    name = "figure1_mnist"
    assert left(sweep) == [f"{name}.png", f"{name}.svg", "table.md", "table.tex"]
    made = sorted([f"{name}.{suffix}" for suffix in ("csv", "parquet", "png", "tex")])
    assert left(place.results) == ["claims.json", *made]
    assert (place.results / f"{name}.png").read_bytes() == (sweep / f"{name}.png").read_bytes()
    assert (place.results / f"{name}.tex").read_text() == (sweep / "table.tex").read_text()
    for page in (place.readme, place.page):
        assert (sweep / "table.md").read_text().rstrip() in page.read_text()
    (claim,) = json.loads((place.results / "claims.json").read_text())
    assert claim["value"] == 0
    assert f"\n{name}: 2 runs\n" in capsys.readouterr().out


def test_without_runs_everything_is_made_anew_from_what_is_stored(place, no_figures, capsys):
    results = make_results(make_arm([(0.5,)], **FEDAVG), make_arm([(0.75,)]))
    results.save(place.results, "figure1_mnist")
    make_results(make_arm([(0.5,)])).save(place.results, "figure9_mnist")
    assert main([]) == 0
    assert capsys.readouterr().out == "figure1_mnist: 2 runs\nfigure9_mnist: 1 runs\n"
    for name in ("figure1_mnist", "figure9_mnist"):
        assert {f"{name}.png", f"{name}.tex"} < {*left(place.results)}
    files = sorted(place.results.parents[2].rglob("*.*"))
    once = [file.read_bytes() for file in files]
    assert main([]) == 0
    assert [file.read_bytes() for file in files] == once
    assert "75.0" in place.page.read_text()


def test_figures_of_results_that_are_gone_go_too(place):
    for suffix in ("png", "tex"):
        (place.results / f"figure5.{suffix}").write_text("of once")
    assert main([]) == 0
    assert left(place.results) == ["claims.json"]


def test_runs_of_another_experiment_are_not_stored(sweep, place, capsys):
    message = refusal(capsys, sweep, "--store", "figure9_mnist")
    assert message == (
        "--store=figure9_mnist is not allowed: num_epochs of RUNS must be 1, as in that "
        "experiment, but is 20.\n"
    )
    assert left(place.results) == []


def test_runs_that_lack_what_a_claim_is_about_are_not_stored(sweep, place, capsys):
    before = make_results(make_arm([(0.5,)], **FEDAVG), make_arm([(0.75,)]))
    before.save(place.results, "figure1_mnist")
    files = {file.name: file.read_bytes() for file in place.results.iterdir()}
    shutil.rmtree(sweep / "1")  # The claim is about both arms.
    assert refusal(capsys, sweep, "--store", "figure1_mnist").startswith("claim 'partial-work-")
    assert {file.name: file.read_bytes() for file in place.results.iterdir()} == files


def test_without_anything_stored_the_pages_say_so(place):
    assert main([]) == 0
    assert left(place.results) == ["claims.json"]
    assert "Not run yet: there are no stored results." in place.page.read_text()
    assert "could not be tested here" in place.page.read_text()


def test_damaged_results_are_one_sentence_and_exit_code_2(place, capsys):
    (place.results / "figure1_mnist.csv").write_text("a,b\n1,2\n")
    assert "figure1_mnist.csv" in refusal(capsys)


def test_damaged_claims_are_one_sentence_and_exit_code_2(place, capsys):
    place.claims.write_text("[]")
    assert "claims.yaml" in refusal(capsys)


def test_stored_results_that_cannot_be_compared_are_one_sentence_and_exit_code_2(place, capsys):
    make_results([make_run(num_epochs=e, seed=e) for e in (1, 2)]).save(place.results, "figure5")
    assert refusal(capsys).endswith("num_epochs is 1 or 2.\n")


def test_results_that_cannot_be_written_are_one_sentence_and_exit_code_1(
    sweep, place, no_figures, capsys
):
    place.results.rmdir()
    place.results.write_text("a file")
    assert main([str(sweep), "--store", "figure5"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"'{place.results}' could not be written" in err


def test_a_figure_that_cannot_be_written_is_one_sentence_and_exit_code_1(place, capsys):
    make_results([make_run()]).save(place.results, "figure5")
    (place.results / "figure5.png").mkdir()
    assert main([]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "could not be written" in err


def test_runs_are_stored_for_an_experiment_that_there_is(sweep, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([str(sweep), "--store", "nosuch"])
    err = capsys.readouterr().err
    assert [name for name in FIGURES if name not in err] == []
    assert left(sweep) == []


def test_there_must_be_runs_to_store(place, capsys):
    assert refusal(capsys, "--store", "figure5").startswith("--store=figure5 is not allowed: ")
    assert left(place.results) == []


def test_runs_that_have_not_all_ended_are_not_stored(sweep, place, capsys):
    (sweep / "1" / "summary.json").unlink()
    message = refusal(capsys, sweep, "--store", "figure5")
    assert message.startswith("--store=figure5 is not allowed: ")
    assert str(sweep / "1") in message
    assert left(place.results) == left(sweep) == []
