import hashlib
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.app import Array, ArrayRecord
from safetensors.numpy import load_file

from common.errors import UserInputError
from common.experiment import run_directory
from common.experiment.config import ExperimentConfig
from common.experiment.run_directory import RunDirectory

WEIGHTS = {
    "linear.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "linear.bias": np.array([np.pi, -1], dtype=np.float32),
    "steps": np.array(3, dtype=np.int64),
}


@pytest.fixture
def arrays():
    return ArrayRecord({name: Array(array) for name, array in WEIGHTS.items()})


@pytest.fixture
def config(experiment_values):
    def make(output_dir):
        return ExperimentConfig.parse(experiment_values | {"output_dir": str(output_dir)})

    return make


def files(folder):
    return sorted(file.name for file in folder.iterdir())


def refuse_constants(name):
    raise AssertionError(f"{name} is not JSON")


def test_files_before_and_after_completion(config, arrays, tmp_path):
    directory = RunDirectory(config(tmp_path / "a" / "run"), "inline")
    assert directory.path == tmp_path / "a" / "run"
    assert files(directory.path) == ["config.yaml", "environment.json", "rounds.jsonl"]
    directory.complete(arrays, {})
    assert files(directory.path) == [
        "config.yaml",
        "environment.json",
        "model.safetensors",
        "rounds.jsonl",
        "summary.json",
    ]


def test_config_is_complete_and_resolved(config, experiment_values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory(config("run"), "inline")
    written = yaml.safe_load((directory.path / "config.yaml").read_text())
    assert written == experiment_values | {"output_dir": str(tmp_path / "run")}
    assert ExperimentConfig.parse(written).seed == experiment_values["seed"]


def test_environment_says_engine_versions_and_hardware(config, tmp_path):
    directory = RunDirectory(config(tmp_path / "run"), "an engine")
    environment = json.loads((directory.path / "environment.json").read_text())
    assert environment["engine"] == "an engine"
    assert environment["packages"]["numpy"] == np.__version__
    assert {"commit", "python", "platform", "processor", "cpus", "gpus"} <= set(environment)


def test_default_place_is_outputs_date_time(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = datetime.now().replace(microsecond=0)
    path = RunDirectory(config(""), "inline").path
    assert path.parents[1] == tmp_path / "outputs"
    made = datetime.strptime(f"{path.parent.name} {path.name}", "%Y-%m-%d %H-%M-%S")
    assert before <= made <= datetime.now()


def test_home_is_expanded(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDirectory(config("~/run"), "inline").path == tmp_path / "run"


def test_every_round_is_a_line_at_once(config, tmp_path):
    directory = RunDirectory(config(tmp_path / "run"), "inline")
    rounds = directory.path / "rounds.jsonl"
    records = [{"round": 1, "clients": [3, 5], "mu": 0.1}, {"round": 2, "clients": [], "mu": 1e-9}]
    for number, record in enumerate(records, start=1):
        directory.append_round(record)
        assert [json.loads(line) for line in rounds.read_text().splitlines()] == records[:number]


def test_numbers_that_are_not_finite_become_null(config, arrays, tmp_path):
    directory = RunDirectory(config(tmp_path / "run"), "inline")
    directory.append_round({"round": 1, "a": float("nan"), "b": float("inf"), "c": -float("inf")})
    directory.complete(arrays, {"test_loss": float("nan"), "test_accuracy": 0.5})
    line = (directory.path / "rounds.jsonl").read_text()
    assert json.loads(line, parse_constant=refuse_constants) == {
        "round": 1,
        "a": None,
        "b": None,
        "c": None,
    }
    summary = json.loads(
        (directory.path / "summary.json").read_text(), parse_constant=refuse_constants
    )
    assert summary["test_loss"] is None
    assert summary["test_accuracy"] == 0.5


def test_model_and_its_hash(config, arrays, tmp_path):
    directory = RunDirectory(config(tmp_path / "run"), "inline")
    directory.complete(arrays, {"rounds": 3})
    model = directory.path / "model.safetensors"
    stored = load_file(model)
    assert stored.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert stored[name].dtype == array.dtype
        np.testing.assert_array_equal(stored[name], array)
    assert json.loads((directory.path / "summary.json").read_text()) == {
        "rounds": 3,
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "complete": True,
    }


def test_hash_depends_on_the_weights_alone(config, tmp_path):
    def digest(name, array):
        directory = RunDirectory(config(tmp_path / name), "inline")
        directory.complete(ArrayRecord({"w": Array(array)}), {"seconds": len(name)})
        return json.loads((directory.path / "summary.json").read_text())["model_sha256"]

    array = np.zeros(3, dtype=np.float32)
    assert digest("one", array) == digest("another", array.copy())
    array[2] = np.nextafter(np.float32(0), np.float32(1))
    assert digest("third", array) != digest("fourth", np.zeros(3, dtype=np.float32))


def test_without_a_model_there_is_no_summary(config, arrays, tmp_path, monkeypatch):
    def fail(tensors, file):
        raise OSError("no space left")

    monkeypatch.setattr(run_directory, "save_file", fail)
    directory = RunDirectory(config(tmp_path / "run"), "inline")
    with pytest.raises(OSError, match="no space left"):
        directory.complete(arrays, {})
    assert not (directory.path / "summary.json").exists()


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(config, arrays, tmp_path):
    first = RunDirectory(config(tmp_path / "run"), "inline")
    first.append_round({"round": 1})
    first.complete(arrays, {})
    before = {file.name: file.read_bytes() for file in first.path.iterdir()}
    with pytest.raises(UserInputError) as caught:
        RunDirectory(config(tmp_path / "run"), "inline")
    assert str(caught.value) == (
        f"output_dir='{tmp_path / 'run'}' is not allowed: it must be a folder without a run, and "
        "this one holds a run already."
    )
    assert {file.name: file.read_bytes() for file in first.path.iterdir()} == before


def test_a_folder_with_an_incomplete_run_is_refused_too(config, tmp_path):
    RunDirectory(config(tmp_path / "run"), "inline")
    with pytest.raises(UserInputError, match="holds a run already"):
        RunDirectory(config(tmp_path / "run"), "inline")


def test_an_empty_folder_will_do(config, tmp_path):
    assert RunDirectory(config(tmp_path), "inline").path == tmp_path


@pytest.mark.parametrize("below", [".", "a", "a/b"])
def test_a_folder_that_cannot_be_made_is_refused(config, tmp_path, below):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserInputError) as caught:
        RunDirectory(config(file / below), "inline")
    assert str(caught.value).startswith(
        f"output_dir='{Path(file / below)}' is not allowed: it must be a folder that can be written"
    )
    assert "\n" not in str(caught.value)
    assert file.read_text() == "mine"


def test_runs_that_start_in_the_same_second_have_a_folder_each(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_directory, "_timestamped", lambda: Path("outputs/day/second"))
    made = [RunDirectory(config(""), "inline").path.name for _ in range(3)]
    assert made == ["second", "second-1", "second-2"]
