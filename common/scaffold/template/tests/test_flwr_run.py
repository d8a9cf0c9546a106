"""`flwr run` gives the numbers of our own engines, to the last bit."""

import pytest
from flower_runs import run_by_flower, superlink_that_finds
from new_baseline.replication import REPLICATION
from run_folders import read_outcome

pytestmark = pytest.mark.slow


def test_flwr_run_agrees_with_inline(make_config, run, tmp_path):
    config = make_config(seed=1, output_dir=str(tmp_path / "inline"))
    run(config)
    with superlink_that_finds(tmp_path / "data", tmp_path / "cache") as superlink:
        by_flower = run_by_flower(
            REPLICATION.folder, config.to_run_config(), superlink, tmp_path / "flwr_run"
        )
    assert by_flower == read_outcome(tmp_path / "inline")
