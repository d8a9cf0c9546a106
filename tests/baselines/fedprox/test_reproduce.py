"""The command `python -m fedprox.reproduce`, in this process."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from fedprox.figures import FIGURES
from fedprox.replication import REPLICATION
from hydra_state import hydra_as_new

from common.replication import reproduce

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
        code = reproduce.main(REPLICATION, arguments)
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


def test_a_figure_is_made_in_one_command_and_goes_on_with_what_is_there(main, tmp_path):
    command = ("--output", str(tmp_path / "out"), "alpha_only", *SMALL)
    folder = tmp_path / "out" / "alpha_only"
    ended = main(*command)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("0", "1", "2", "3"),
        *("alpha_only.html", "alpha_only.png", "alpha_only.svg"),
        *("multirun.yaml", "table.md", "table.tex"),
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
    with_times = {"2/summary.json", "2/environment.json", "2/rounds.jsonl", "alpha_only.html"}
    assert changed <= with_times | {"multirun.yaml"}
    assert json.loads(after["2/summary.json"])["complete"]

    # Other keys in the same folder are another sweep.
    ended = main(*command, "batch_size=5")
    assert ended.code == 2
    assert ended.err.startswith("batch_size=5 is not allowed: it must be 10, as in the run that ")
    assert files(folder) == after


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


def test_a_command_is_refused_before_the_wait_for_large_libraries():
    code = "import sys, fedprox.reproduce; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    large = {"torch", "pandas", "scipy", "matplotlib", "pyarrow", "ray", "flwr"}
    assert large & {*ended.stdout.split()} == set()
