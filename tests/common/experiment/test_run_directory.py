import errno
import hashlib
import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.app import Array, ArrayRecord, RecordDict
from safetensors.numpy import load_file

from common.errors import StorageError, UserInputError
from common.experiment import run_directory
from common.experiment.checkpoint import Checkpoint
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
    def make(output_dir, **changes):
        values = experiment_values | {"output_dir": str(output_dir)} | changes
        return ExperimentConfig.parse(values)

    return make


def files(folder):
    return sorted(file.name for file in folder.iterdir())


def contents(folder):
    """Every file below a folder with its bytes."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def refuse_constants(name):
    raise AssertionError(f"{name} is not JSON")


def test_files_while_it_is_written_and_after_completion(config, arrays, tmp_path):
    with RunDirectory(config(tmp_path / "a" / "run"), "inline") as directory:
        assert directory.path == tmp_path / "a" / "run"
        assert not directory.is_complete
        assert directory.checkpoint is None
        assert directory.rounds == []
        assert files(directory.path) == [
            "checkpoint",
            "config.yaml",
            "environment.json",
            "rounds.jsonl",
        ]
        directory.complete(arrays, {})
        assert directory.is_complete
    assert files(directory.path) == [
        "config.yaml",
        "environment.json",
        "model.safetensors",
        "rounds.jsonl",
        "summary.json",
    ]


def test_config_is_complete_and_resolved(config, experiment_values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunDirectory(config("run"), "inline") as directory:
        written = yaml.safe_load((directory.path / "config.yaml").read_text())
    assert written == experiment_values | {"output_dir": str(tmp_path / "run")}
    assert ExperimentConfig.parse(written).seed == experiment_values["seed"]


def test_environment_says_engine_versions_and_hardware(config, tmp_path):
    with RunDirectory(config(tmp_path / "run"), "an engine") as directory:
        environment = json.loads((directory.path / "environment.json").read_text())
    assert environment["engine"] == "an engine"
    assert environment["packages"]["numpy"] == np.__version__
    assert {"commit", "python", "platform", "processor", "cpus", "gpus"} <= set(environment)
    assert "resumed" not in environment


def test_default_place_is_outputs_date_time(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = datetime.now().replace(microsecond=0)
    with RunDirectory(config(""), "inline") as directory:
        path = directory.path
    assert path.parents[1] == tmp_path / "outputs"
    made = datetime.strptime(f"{path.parent.name} {path.name}", "%Y-%m-%d %H-%M-%S")
    assert before <= made <= datetime.now()


def test_home_is_expanded(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with RunDirectory(config("~/run"), "inline") as directory:
        assert directory.path == tmp_path / "run"


def test_every_round_is_a_line_at_once(config, tmp_path):
    records = [{"round": 1, "clients": [3, 5], "mu": 0.1}, {"round": 2, "clients": [], "mu": 1e-9}]
    with RunDirectory(config(tmp_path / "run"), "inline") as directory:
        rounds = directory.path / "rounds.jsonl"
        for number, record in enumerate(records, start=1):
            directory.append_round(record)
            lines = rounds.read_text().splitlines()
            assert [json.loads(line) for line in lines] == records[:number]


def test_numbers_that_are_not_finite_become_null(config, arrays, tmp_path):
    with RunDirectory(config(tmp_path / "run"), "inline") as directory:
        directory.append_round(
            {"round": 1, "a": float("nan"), "b": float("inf"), "c": -float("inf")}
        )
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
    with RunDirectory(config(tmp_path / "run"), "inline") as directory:
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


def test_a_model_in_another_order_keeps_its_values(config, tmp_path):
    w = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    with RunDirectory(config(tmp_path / "run"), "inline") as directory:
        directory.complete(ArrayRecord({"w": Array(w)}), {})
    stored = load_file(tmp_path / "run" / "model.safetensors")
    assert stored["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_hash_depends_on_the_weights_alone(config, tmp_path):
    def digest(name, array):
        with RunDirectory(config(tmp_path / name), "inline") as directory:
            directory.complete(ArrayRecord({"w": Array(array)}), {"seconds": len(name)})
        return json.loads((directory.path / "summary.json").read_text())["model_sha256"]

    array = np.zeros(3, dtype=np.float32)
    assert digest("one", array) == digest("another", array.copy())
    array[2] = np.nextafter(np.float32(0), np.float32(1))
    assert digest("third", array) != digest("fourth", np.zeros(3, dtype=np.float32))


def full_disk(monkeypatch, name):
    """Let the disk be full whenever a file of this name is to be written."""
    write = run_directory.write_atomically

    def write_or_fail(path, content):
        if path.name == name:
            raise StorageError(f"{str(path)!r} could not be written: No space left on device.")
        write(path, content)

    monkeypatch.setattr(run_directory, "write_atomically", write_or_fail)


@pytest.mark.parametrize("name", ["model.safetensors", "summary.json"])
def test_without_a_model_and_a_summary_a_run_is_not_complete(
    config, arrays, tmp_path, monkeypatch, name
):
    with monkeypatch.context() as patch:
        full_disk(patch, name)
        with (
            RunDirectory(config(tmp_path / "run"), "inline") as directory,
            pytest.raises(StorageError, match=name),
        ):
            directory.complete(arrays, {})
    assert not directory.is_complete
    assert not (directory.path / "summary.json").exists()
    with RunDirectory(config(tmp_path / "run"), "inline") as again:
        assert not again.is_complete
        again.complete(arrays, {})
        assert again.is_complete


def test_a_line_that_cannot_be_written_is_told(config, tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunDirectory(config(tmp_path / "run"), "inline") as directory:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError) as caught:
            directory.append_round({"round": 1})
    file = tmp_path / "run" / "rounds.jsonl"
    assert str(caught.value) == f"{str(file)!r} could not be written: No space left on device."


def checkpoint(round_):
    return Checkpoint(
        round=round_,
        arrays=ArrayRecord({"w": Array(np.float32([round_]))}),
        strategy=RecordDict(),
        clients={},
        counters={"seconds": 1.5},
    )


def write_rounds(directory, rounds, checkpoints=()):
    for round_ in rounds:
        directory.append_round({"round": round_, "mu": 0.1 * round_})
        if round_ in checkpoints:
            directory.save(checkpoint(round_))


def test_the_same_configuration_goes_on_after_the_last_checkpoint(config, tmp_path):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1, 2, 3], checkpoints=[1, 2])
    lines = (tmp_path / "rounds.jsonl").read_bytes().splitlines(keepends=True)
    with RunDirectory(config(tmp_path), "inline") as again:
        assert not again.is_complete
        assert again.checkpoint.round == 2
        assert again.checkpoint.arrays == checkpoint(2).arrays
        assert [line["round"] for line in again.rounds] == [1, 2]
        # What came after the checkpoint will be run again.
        assert (tmp_path / "rounds.jsonl").read_bytes() == b"".join(lines[:2])
        write_rounds(again, [3, 4])
    text = (tmp_path / "rounds.jsonl").read_bytes()
    assert text.startswith(b"".join(lines))
    assert [json.loads(line)["round"] for line in text.splitlines()] == [1, 2, 3, 4]


def test_a_run_goes_on_with_the_same_data_only(config, tmp_path):
    with RunDirectory(config(tmp_path), "inline", [3, 5]) as first:
        write_rounds(first, [1], checkpoints=[1])
    with pytest.raises(UserInputError, match="of another configuration, or of other data"):
        RunDirectory(config(tmp_path), "inline", [3, 6])
    with RunDirectory(config(tmp_path), "inline", [3, 5]) as again:
        assert again.checkpoint.round == 1


def test_what_an_earlier_run_left_is_none_of_the_new_one(config, arrays, tmp_path):
    """Somebody took its config.yaml away, to use the folder again."""
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1, 2], checkpoints=[2])
    (tmp_path / "config.yaml").unlink()
    for name in ("summary.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    for _ in range(2):
        with RunDirectory(config(tmp_path), "inline") as new:
            assert not new.is_complete
            assert new.checkpoint is None
            assert new.rounds == []
    assert files(tmp_path) == ["checkpoint", "config.yaml", "environment.json", "rounds.jsonl"]
    assert files(tmp_path / "checkpoint") == ["lock"]


@pytest.mark.parametrize(
    "name", ["config.yaml", "environment.json", "rounds.jsonl", "checkpoint", "summary.json"]
)
def test_a_link_is_refused_for_it_would_have_another_file_written(config, tmp_path, name):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with RunDirectory(config(folder), "inline") as first:
        write_rounds(first, [1], checkpoints=[1])
    if (folder / name).exists():
        (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(UserInputError, match=f"its {name} must be no link"):
        RunDirectory(config(folder), "inline")


def test_a_complete_run_whose_checkpoints_stay_is_complete(config, arrays, tmp_path, monkeypatch):
    """On some network file systems an open file keeps its folder."""
    monkeypatch.setattr("shutil.rmtree", lambda path, ignore_errors: None)
    with RunDirectory(config(tmp_path), "inline") as directory:
        directory.complete(arrays, {})
    with RunDirectory(config(tmp_path), "inline") as again:
        assert again.is_complete


def test_another_machine_or_version_is_noticed(config, tmp_path):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1], checkpoints=[1])
    with RunDirectory(config(tmp_path), "ray") as same:
        assert same.differences == []
    file = tmp_path / "environment.json"
    environment = json.loads(file.read_text())
    file.write_text(json.dumps(environment | {"processor": "another", "commit": None}))
    with RunDirectory(config(tmp_path), "inline") as other:
        assert any(
            told.startswith("processor was 'another', and is ") for told in other.differences
        )


def test_a_changed_key_may_be_infinite(config, tmp_path, experiment_values):
    finite = experiment_values | {"engine": "ray", "client_timeout": 60.0}
    finite["output_dir"] = str(tmp_path)
    with RunDirectory(ExperimentConfig.parse(finite), "ray") as first:
        write_rounds(first, [1], checkpoints=[1])
    with RunDirectory(config(tmp_path), "inline"):
        pass
    (resumed,) = json.loads((tmp_path / "environment.json").read_text())["resumed"]
    assert resumed["changed"] == {"engine": "inline", "client_timeout": None}


@pytest.mark.parametrize("torn", [b"", b'{"round": 3, "mu', b"\xff\0", b"{}\n[]\n"])
def test_a_line_that_was_being_written_is_dropped(config, tmp_path, torn):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1, 2], checkpoints=[2])
    file = tmp_path / "rounds.jsonl"
    before = file.read_bytes()
    file.write_bytes(before + torn)
    with RunDirectory(config(tmp_path), "inline") as again:
        assert again.checkpoint.round == 2
    assert file.read_bytes() == before


def test_a_run_without_a_checkpoint_begins_anew(config, tmp_path):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1, 2])
    with RunDirectory(config(tmp_path), "inline") as again:
        assert again.checkpoint is None
        assert again.rounds == []
    assert (tmp_path / "rounds.jsonl").read_bytes() == b""


def test_a_folder_in_which_a_run_was_about_to_begin_will_do(config, tmp_path):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1, 2])
    (tmp_path / "config.yaml").unlink()  # It is written last.
    with RunDirectory(config(tmp_path), "inline") as again:
        assert again.rounds == []
    assert files(tmp_path) == ["checkpoint", "config.yaml", "environment.json", "rounds.jsonl"]


def test_the_environment_tells_that_a_run_went_on_and_with_what(config, tmp_path):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1, 2], checkpoints=[2])
    began = json.loads((tmp_path / "environment.json").read_text())
    for engine in ("one", "another"):
        with RunDirectory(config(tmp_path, checkpoint_every=5), engine):
            pass
    environment = json.loads((tmp_path / "environment.json").read_text())
    resumed = environment.pop("resumed")
    assert environment == began
    assert [entry["engine"] for entry in resumed] == ["one", "another"]
    for entry in resumed:
        assert entry["after_round"] == 2
        assert entry["changed"] == {"checkpoint_every": 5}
        assert began.keys() <= entry.keys()
    # The configuration stays that of the beginning.
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["checkpoint_every"] == 1


def test_a_complete_run_stays_as_it_is(config, arrays, tmp_path):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1, 2], checkpoints=[2])
        first.complete(arrays, {})
    before = contents(tmp_path)
    with RunDirectory(config(tmp_path), "inline") as again:
        assert again.is_complete
        assert again.checkpoint is None
    assert contents(tmp_path) == before
    assert files(tmp_path) == sorted(before)


def test_checkpoints_of_a_run_that_was_killed_when_it_was_complete_are_removed(
    config, arrays, tmp_path, monkeypatch
):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1], checkpoints=[1])
        monkeypatch.setattr(first._checkpoints, "remove", lambda: None)
        first.complete(arrays, {})
    assert "checkpoint" in files(tmp_path)
    with RunDirectory(config(tmp_path), "inline") as again:
        assert again.is_complete
    assert "checkpoint" not in files(tmp_path)


@pytest.mark.parametrize("complete", [True, False])
def test_a_folder_with_another_run_is_refused_and_left_alone(config, arrays, tmp_path, complete):
    with RunDirectory(config(tmp_path / "run"), "inline") as first:
        write_rounds(first, [1], checkpoints=[1])
        if complete:
            first.complete(arrays, {})
    before = contents(first.path)
    with pytest.raises(UserInputError) as caught:
        RunDirectory(config(tmp_path / "run", seed=8), "inline")
    assert str(caught.value) == (
        f"seed=8 is not allowed: it must be 7, as in the run that '{tmp_path / 'run'}' holds, or "
        "output_dir another folder."
    )
    assert contents(first.path) == before
    assert ("checkpoint" in files(first.path)) == (not complete)


def test_nobody_else_can_write_there_meanwhile(config, tmp_path):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1], checkpoints=[1])
        before = contents(tmp_path)
        with pytest.raises(UserInputError, match="no other process is writing a run into"):
            RunDirectory(config(tmp_path), "inline")
        assert contents(tmp_path) == before
        write_rounds(first, [2])
    with RunDirectory(config(tmp_path), "inline") as again:
        assert again.checkpoint.round == 1


def test_a_run_that_failed_may_be_gone_on_with_at_once(config, tmp_path):
    with pytest.raises(ZeroDivisionError), RunDirectory(config(tmp_path), "inline"):
        raise ZeroDivisionError
    with RunDirectory(config(tmp_path), "inline") as again:
        assert again.rounds == []


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("rounds.jsonl", b"", "rounds.jsonl"),
        ("rounds.jsonl", b'{"round": 1}\n', "rounds.jsonl"),
        ("rounds.jsonl", b'{"round": 2}\n{"round": 1}\n', "rounds.jsonl"),
        ("rounds.jsonl", b'{"round": 1}\n{"round"', "rounds.jsonl"),
        ("environment.json", b"[]", "environment.json"),
        ("environment.json", b"", "environment.json"),
        ("config.yaml", b"seed: 7", "config.yaml"),
        ("checkpoint/server.safetensors", b"", "server.safetensors"),
    ],
)
def test_a_damaged_run_is_refused_with_the_file_and_left_alone(
    config, tmp_path, name, content, named
):
    with RunDirectory(config(tmp_path), "inline") as first:
        write_rounds(first, [1, 2], checkpoints=[2])
    (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    with pytest.raises(UserInputError, match=named):
        RunDirectory(config(tmp_path), "inline")
    assert contents(tmp_path) == before
    # And is not locked then.
    with pytest.raises(UserInputError, match=named):
        RunDirectory(config(tmp_path), "inline")


def test_an_empty_folder_will_do(config, tmp_path):
    with RunDirectory(config(tmp_path), "inline") as directory:
        assert directory.path == tmp_path


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
    made = []
    for _ in range(3):
        with RunDirectory(config(""), "inline") as directory:
            made.append(directory.path.name)
    assert made == ["second", "second-1", "second-2"]
