"""The command `python -m imagenet_resnet.report`, and that the repository has what it makes."""

import runpy
import subprocess
import sys

import pytest
from imagenet_resnet.figures import FIGURES
from imagenet_resnet.replication import REPLICATION
from imagenet_runs import FEDAVG, LOCAL_ONLY, make_run
from made_runs import write_run
from no_figures import draw_nothing

from common.analysis.claims import load_claims
from common.analysis.results import Results
from common.replication import report

RESULTS = REPLICATION.results


def test_the_command_reports_on_runs(tmp_path, monkeypatch, capsys):
    """Of as many rounds as they have."""
    for number, (accuracies, keys) in enumerate(
        [((0.25, 0.5), FEDAVG), ((0.5, 0.75), {"mu": 1.0}), ((0.125,), LOCAL_ONLY)]
    ):
        write_run(tmp_path / str(number), make_run(accuracies, **keys))
    monkeypatch.setattr(report, "draw", draw_nothing)
    monkeypatch.setattr(sys, "argv", ["imagenet_resnet.report", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module("imagenet_resnet.report", run_name="__main__")
    said = " ".join(capsys.readouterr().out.split())
    for row in ("| local only, averaged once | 12.5 |", "| FedAvg | 37.5 |"):
        assert row in said
    assert "| FedProx, μ = 1 | 62.5 |" in said


def test_claims_are_about_experiments_that_there_are():
    claims = load_claims(REPLICATION.claims)
    assert len({claim.id for claim in claims}) == len(claims)
    about = {c.experiment for claim in claims for c in claim.quantity.contrasts}
    assert about <= FIGURES.keys()


@pytest.fixture
def rebuilt(monkeypatch):
    """What `python -m imagenet_resnet.report` would write: path -> content, None for a figure."""
    written = {}
    for name, module in [*sys.modules.items()]:
        is_ours = name.startswith(("common.", "imagenet_resnet."))
        if is_ours and hasattr(module, "write_atomically"):
            monkeypatch.setattr(module, "write_atomically", written.__setitem__)
    monkeypatch.setattr(report, "draw", lambda *given: written.update({given[-1]: None}))
    report.rebuild(REPLICATION)
    return written


def test_the_repository_has_what_is_made_from_its_stored_results(rebuilt):
    """Otherwise: python -m imagenet_resnet.report."""
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


def test_commands_are_refused_before_the_wait_for_large_libraries():
    code = (
        "import sys, imagenet_resnet.reproduce, imagenet_resnet.config, common.experiment.cli; "
        "print(*sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    large = {"torch", "torchvision", "pandas", "scipy", "matplotlib", "pyarrow", "ray", "flwr"}
    assert large & {*ended.stdout.split()} == set()
