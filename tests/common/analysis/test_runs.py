import json
import math

import pytest
import yaml

from common.analysis.runs import load_runs
from common.errors import UserInputError


def write_run(folder, accuracies, complete=True, **config):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [json.dumps({"round": i, "test_accuracy": a}) for i, a in enumerate(accuracies, 1)]
    (folder / "rounds.jsonl").write_text("\n".join(lines) + "\n")
    if complete:
        (folder / "summary.json").write_text(json.dumps({"complete": True}))


def test_runs_are_found_at_any_depth_and_in_the_order_of_their_paths(tmp_path):
    write_run(tmp_path / "b", [0.2], seed=2)
    write_run(tmp_path / "a" / "0", [0.1], seed=1)
    assert [run.config["seed"] for run in load_runs([tmp_path])] == [1, 2]
    assert [run.config["seed"] for run in load_runs([tmp_path / "b", tmp_path / "a"])] == [2, 1]


def test_an_unfinished_run_is_left_out(tmp_path):
    write_run(tmp_path / "done", [0.1], seed=1)
    write_run(tmp_path / "killed", [0.2], complete=False, seed=2)
    assert [run.config["seed"] for run in load_runs([tmp_path])] == [1]


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserInputError, match="must hold at least one complete run"):
        load_runs([tmp_path])


def test_the_tail_is_the_last_ten_rounds(tmp_path):
    write_run(tmp_path / "run", [1.0] * 90 + [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    (run,) = load_runs([tmp_path])
    assert run.tail_mean("test_accuracy") == pytest.approx(0.55)


def test_what_was_not_finite_is_nan(tmp_path):
    write_run(tmp_path / "run", [0.5, None])
    curve = load_runs([tmp_path])[0].curve("test_accuracy")
    assert curve[0] == 0.5
    assert math.isnan(curve[1])
