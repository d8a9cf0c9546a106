"""The files of conf/: that every arm of a sweep runs, shrunk, and can be told from the others."""

from pathlib import Path

import hydra
import new_baseline
import pytest
from hydra_state import hydra_as_new
from new_baseline.config import NewBaselineConfig
from new_baseline.figures import FIGURES
from new_baseline.replication import REPLICATION
from run_folders import read_rounds

from common.analysis.claims import load_claims
from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.experiment import cli
from common.experiment.sweep import expand_sweep
from common.replication.comparison import compare

CONF = Path(new_baseline.__file__).parent / "conf"
SINGLE_RUNS = {"smoke"}


@pytest.fixture
def compose(monkeypatch):
    """Composes the configuration that the command line would run."""

    def compose(*overrides):
        return cli.compose_config("new_baseline", NewBaselineConfig, overrides)

    with hydra_as_new(monkeypatch):
        yield compose


def sweep(name):
    """Return the overrides of every run of an experiment's sweep."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = hydra.compose("config", [f"+experiment={name}"], return_hydra_config=True)
        return expand_sweep(config)


def test_every_sweep_is_a_figure():
    files = {file.stem for file in (CONF / "experiment").glob("*.yaml")}
    assert files == FIGURES.keys() | SINGLE_RUNS


def test_every_claim_is_about_an_experiment():
    claims = load_claims(REPLICATION.claims)
    assert {name for claim in claims for name in claim.experiments} <= FIGURES.keys()


def test_the_smoke_experiment_leaves_a_line_a_round(compose, run, tmp_path):
    run(compose("+experiment=smoke", f"output_dir='{tmp_path / 'smoke'}'"))
    rounds = read_rounds(tmp_path / "smoke")
    assert [line["round"] for line in rounds] == [1, 2, 3]
    assert rounds[-1]["train_loss"] < rounds[0]["train_loss"]


@pytest.mark.parametrize("name", FIGURES)
def test_every_arm_runs_and_has_a_name_of_its_own(compose, run, tmp_path, name):
    compose()  # Which makes the defaults known to Hydra.
    configs = [compose(*overrides) for overrides in sweep(name)]
    seeds = {config.seed for config in configs}
    assert len(seeds) >= 5  # Fewer give no verdict but "partly".
    arms = [config for config in configs if config.seed == 0]
    assert len(configs) == len(seeds) * len(arms)  # All arms have the same seeds.
    for number, config in enumerate(arms):
        small = {"num_rounds": 2, "output_dir": str(tmp_path / str(number))}
        run(NewBaselineConfig.parse(config.model_dump() | small))
    panels = compare(REPLICATION, Results.of(load_runs([tmp_path])))
    assert sum(map(len, panels.values())) == len(arms)
