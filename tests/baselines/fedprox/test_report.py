"""The command `python -m fedprox.report`, and that the repository has what it makes."""

import runpy
import sys

import pytest
from fedprox.figures import FIGURES
from fedprox.replication import REPLICATION
from fedprox_runs import FEDAVG, make_run
from made_runs import write_run
from no_figures import draw_nothing

from common.analysis.results import Results
from common.replication import report

RESULTS = REPLICATION.results


def test_the_command_reports_on_runs(tmp_path, monkeypatch, capsys):
    for number, keys in enumerate((FEDAVG, {"mu": 1.0})):
        write_run(tmp_path / str(number), make_run((0.25, 0.5), **keys))
    monkeypatch.setattr(report, "draw", draw_nothing)
    monkeypatch.setattr(sys, "argv", ["fedprox.report", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module("fedprox.report", run_name="__main__")
    assert "| FedProx, μ = 1             |                   37.5 |" in capsys.readouterr().out


@pytest.fixture
def rebuilt(monkeypatch):
    """What `python -m fedprox.report` would write: path -> content, which is None for a figure."""
    written = {}
    for name, module in [*sys.modules.items()]:
        if name.startswith(("common.", "fedprox.")) and hasattr(module, "write_atomically"):
            monkeypatch.setattr(module, "write_atomically", written.__setitem__)
    monkeypatch.setattr(report, "draw", lambda *given: written.update({given[-1]: None}))
    report.rebuild(REPLICATION)
    return written


def test_the_repository_has_what_is_made_from_its_stored_results(rebuilt):
    """Otherwise: python -m fedprox.report."""
    assert {REPLICATION.readme, REPLICATION.page, RESULTS / "claims.json"} <= rebuilt.keys()
    drifted = [
        str(path.relative_to(REPLICATION.folder.parents[1]))
        for path, content in rebuilt.items()
        if not path.exists() or content not in (None, path.read_bytes())
    ]
    assert drifted == []


@pytest.mark.parametrize("suffix", ["csv", "parquet", "png", "tex"])
def test_the_repository_has_every_file_of_the_results_that_it_has(suffix):
    names = {file.stem for file in RESULTS.glob(f"*.{suffix}")}
    assert names == {name for name in FIGURES if Results.find(RESULTS, name)}
