import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import StorageError, UserInputError
from common.experiment.checkpoint import Checkpoint, CheckpointFolder
from common.experiment.record_file import to_bytes


def state(number):
    return RecordDict(
        {"kept": ArrayRecord({"w": Array(np.float32([number, 0.1]))}), "n": MetricRecord({"n": 1})}
    )


def checkpoint(round_=1, clients=None):
    return Checkpoint(
        round=round_,
        arrays=ArrayRecord({"w": Array(np.float32([[round_, np.nan]])), "n": Array(np.array(3))}),
        strategy=RecordDict({"adaptive-mu": MetricRecord({"mu": 0.1 * round_, "falls": 2})}),
        clients=clients or {},
        counters={"seconds": 1.5 * round_, "client_seconds": 0.0},
    )


def plain(found):
    """What a checkpoint holds, to be compared; NaN in an array is its bytes."""
    return (
        found.round,
        found.arrays,
        found.strategy,
        dict(found.clients),
        dict(found.counters),
    )


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path)


def files(folder):
    return sorted(file.name for file in folder.iterdir())


def test_there_is_none_at_first(folder):
    assert folder.load() is None


def test_what_was_saved_is_loaded(folder, tmp_path):
    saved = checkpoint(3, {5: state(1), 70: state(2)})
    folder.save(saved)
    assert plain(CheckpointFolder(tmp_path).load()) == plain(saved)
    assert files(tmp_path) == [
        "client-5-3.safetensors",
        "client-70-3.safetensors",
        "server.safetensors",
    ]


def test_the_last_one_counts(folder, tmp_path):
    folder.save(checkpoint(1, {5: state(1)}))
    folder.save(checkpoint(2, {5: state(2)}))
    assert plain(CheckpointFolder(tmp_path).load()) == plain(checkpoint(2, {5: state(2)}))
    assert files(tmp_path) == ["client-5-2.safetensors", "server.safetensors"]


def test_a_strategy_without_state_and_a_record_named_like_the_model(folder, tmp_path):
    strategy = RecordDict(
        {"model": ArrayRecord({"w": Array(np.zeros(1))}), "strategy.": state(1)["n"]}
    )
    for kept in (RecordDict(), strategy):
        folder.save(replace(checkpoint(1), strategy=kept))
        found = CheckpointFolder(tmp_path).load()
        assert found.strategy == kept
        assert found.arrays == checkpoint(1).arrays


def test_a_client_is_written_only_when_what_it_keeps_has_changed(folder, tmp_path):
    first, second = state(1), state(2)
    folder.save(checkpoint(1, {5: first, 6: second}))
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
    folder.save(checkpoint(2, {5: first, 6: state(3)}))
    assert files(tmp_path) == [
        "client-5-1.safetensors",
        "client-6-2.safetensors",
        "server.safetensors",
    ]
    kept = "client-5-1.safetensors"
    assert (tmp_path / kept).stat().st_mtime_ns == times[kept]
    assert CheckpointFolder(tmp_path).load().clients == {5: first, 6: state(3)}


def test_that_is_so_after_loading_too(folder, tmp_path):
    folder.save(checkpoint(1, {5: state(1), 6: state(2)}))
    resumed = CheckpointFolder(tmp_path)
    clients = dict(resumed.load().clients)
    clients[6] = state(3)
    resumed.save(checkpoint(2, clients))
    assert files(tmp_path) == [
        "client-5-1.safetensors",
        "client-6-2.safetensors",
        "server.safetensors",
    ]


def test_the_same_round_may_be_saved_again(folder, tmp_path):
    """A run that went on after an older checkpoint does it."""
    folder.save(checkpoint(2, {5: state(1)}))
    folder.save(checkpoint(2, {5: state(1)}))
    assert plain(CheckpointFolder(tmp_path).load()) == plain(checkpoint(2, {5: state(1)}))


class Killed(BaseException):
    """The process died."""


class FileOperations:
    """Counts what a process does to files, and kills it before one of them."""

    def __init__(self, patch, dies_before, error):
        self.number, self.dies_before, self.error = 0, dies_before, error
        for owner, name in ((Path, "open"), (Path, "replace"), (Path, "unlink"), (os, "open")):
            patch.setattr(owner, name, self.counted(getattr(owner, name)))
        patch.setattr(os, "fsync", self.counted(os.fsync, self.lose_half))

    def counted(self, operation, before_death=lambda *arguments: None):
        def counted(*arguments, **keywords):
            self.number += 1
            if self.number == self.dies_before:
                before_death(*arguments)
                raise self.error
            return operation(*arguments, **keywords)

        return counted

    def lose_half(self, descriptor):
        """What is not yet on disk may be there in part."""
        if os.fstat(descriptor).st_size:
            try:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            except OSError:  # A folder.
                return


BEFORE = checkpoint(1, {5: state(1), 6: state(2), 7: state(3)})
AFTER = checkpoint(2, {5: BEFORE.clients[5], 6: state(4), 7: state(5), 8: state(6)})


def save_and_die(path, dies_before, error):
    """Save a checkpoint, and die while the next one is saved; return what was done to files."""
    folder = CheckpointFolder(path)
    folder.save(BEFORE)
    with pytest.MonkeyPatch.context() as patch:
        operations = FileOperations(patch, dies_before, error)
        try:
            folder.save(AFTER)
        except (Killed, StorageError, OSError):
            assert operations.number >= dies_before  # What is unfinished may be removed after it.
    return folder, operations.number


def test_whenever_the_process_dies_there_is_a_whole_checkpoint(tmp_path):
    found = []
    for dies_before in range(1, 1000):
        path = tmp_path / str(dies_before)
        path.mkdir()
        _, number = save_and_die(path, dies_before, Killed())
        if number < dies_before:
            break
        resumed = CheckpointFolder(path)
        loaded = resumed.load()
        found.append(loaded.round)
        assert plain(loaded) == plain(BEFORE if loaded.round == 1 else AFTER)
        # Only what belongs to it is left, and it can be gone on from.
        unfinished = {".server.safetensors.unfinished"}
        assert len(set(files(path)) - unfinished) == 1 + len(loaded.clients)
        resumed.save(replace(AFTER, round=3))
        assert plain(CheckpointFolder(path).load()) == plain(replace(AFTER, round=3))
    # Five steps for each of three clients and the server, whose third makes the checkpoint.
    assert found == sorted(found)
    assert len(found) == dies_before - 1 >= 4 * 5
    assert set(found) == {1, 2}


def test_a_full_disk_leaves_the_checkpoint_before_and_the_next_save_works(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    for dies_before in range(1, 16):  # The steps that write clients.
        path = tmp_path / str(dies_before)
        path.mkdir()
        folder, _ = save_and_die(path, dies_before, full)
        assert plain(CheckpointFolder(path).load()) in (plain(BEFORE), plain(AFTER))
        folder.save(AFTER)
        assert plain(CheckpointFolder(path).load()) == plain(AFTER)


def test_a_full_disk_is_told_in_one_sentence(folder, tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError) as caught:
        folder.save(checkpoint())
    assert str(caught.value) == (
        f"'{tmp_path / 'server.safetensors'}' could not be written: No space left on device."
    )


def test_stray_files_are_removed_and_others_are_not(folder, tmp_path):
    saved = checkpoint(3, {5: state(1)})
    folder.save(saved)
    for name in ("client-5-4.safetensors", ".client-9-4.safetensors.unfinished", "lock"):
        (tmp_path / name).write_bytes(b"")
    assert plain(CheckpointFolder(tmp_path).load()) == plain(saved)
    assert files(tmp_path) == ["client-5-3.safetensors", "lock", "server.safetensors"]


def test_the_folder_is_removed_with_all_that_is_in_it(folder, tmp_path):
    folder.save(checkpoint(3, {5: state(1)}))
    folder.remove()
    assert not tmp_path.exists()
    folder.remove()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    CheckpointFolder(tmp_path, "one").save(checkpoint(3, {}))
    assert CheckpointFolder(tmp_path, "one").load() is not None
    with pytest.raises(UserInputError, match="it is of another configuration, or of other data"):
        CheckpointFolder(tmp_path, "other").load()


def test_a_checkpoint_is_forgotten_with_its_clients_and_nothing_else_is(folder, tmp_path):
    folder.save(checkpoint(3, {5: state(1)}))
    for name in ("lock", "my-client-list.txt"):
        (tmp_path / name).touch()
    CheckpointFolder(tmp_path).clear()
    assert files(tmp_path) == ["lock", "my-client-list.txt"]


def refusal(path):
    before = files(path)
    with pytest.raises(UserInputError) as caught:
        CheckpointFolder(path).load()
    message = str(caught.value)
    assert message.startswith(
        f"'{path / 'server.safetensors'}' is not allowed: it must be a checkpoint of this run ("
    )
    assert message.endswith("without the folder it is in, the run begins anew.")
    assert len(message) - len(str(path)) < 500
    assert files(path) == before
    return message


@pytest.mark.parametrize("name", ["server.safetensors", "client-5-3.safetensors"])
@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[1:]],
)
def test_a_damaged_file_is_refused(folder, tmp_path, name, damage):
    folder.save(checkpoint(3, {5: state(1)}))
    file = tmp_path / name
    file.write_bytes(damage(file.read_bytes()))
    refusal(tmp_path)


def test_a_client_that_is_missing_is_refused(folder, tmp_path):
    folder.save(checkpoint(3, {5: state(1)}))
    (tmp_path / "client-5-3.safetensors").unlink()
    assert "FileNotFoundError" in refusal(tmp_path)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "server.safetensors").mkdir()
    assert "FileNotFoundError" in refusal(tmp_path)


GOOD = {"run": "", "round": 3, "clients": {"5": 3}, "counters": {"seconds": 1.5}}


def write(path, about, content=None):
    """Write a checkpoint that says this of itself, beside the file of client 5."""
    content = content or RecordDict({"model": checkpoint().arrays})
    (path / "server.safetensors").write_bytes(to_bytes(content, about))
    (path / "client-5-3.safetensors").write_bytes(to_bytes(state(1), {}))


def test_the_checkpoints_below_differ_in_what_they_say_alone(tmp_path):
    write(tmp_path, GOOD)
    assert CheckpointFolder(tmp_path).load().clients == {5: state(1)}


@pytest.mark.parametrize(
    "bad",
    [
        {"round": 0},
        {"round": -3},
        {"round": 3.0},
        {"round": "3"},
        {"round": True},
        {"round": None},
        {"clients": None},
        {"clients": [5]},
        {"clients": {"../x": 3}},
        {"clients": {"": 3}},
        {"clients": {"5": "../../etc/passwd"}},
        {"clients": {"5": None}},
        {"clients": {"5": -3}},
        {"clients": {"-5": 3}},
        {"clients": {"5": 1e400}},
        {"clients": {"9" * 3000: 3}},
        {"clients": {"9" * 5000: 3}},
        {"counters": None},
        {"counters": [1.5]},
        {"counters": {"seconds": float("nan")}},
        {"counters": {"seconds": float("inf")}},
        {"counters": {"seconds": 10**400}},
        {"counters": {"seconds": "1.5"}},
        {"counters": {"seconds": None}},
    ],
    ids=lambda bad: str(bad)[:50],
)
def test_what_a_checkpoint_cannot_say_is_refused(tmp_path, bad):
    write(tmp_path, GOOD | bad)
    refusal(tmp_path)


@pytest.mark.parametrize("key", GOOD)
def test_a_checkpoint_that_does_not_say_it_all_is_refused(tmp_path, key):
    write(tmp_path, {other: value for other, value in GOOD.items() if other != key})
    assert f"KeyError: '{key}'" in refusal(tmp_path)


def test_a_checkpoint_without_a_model_is_refused(tmp_path):
    write(tmp_path, GOOD, RecordDict({"model": ConfigRecord({"w": 1})}))
    assert "KeyError: 'model'" in refusal(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=30)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD, json_values)))
def test_whatever_a_checkpoint_says_it_is_refused_or_loaded(tmp_path_factory, about):
    path = tmp_path_factory.mktemp("checkpoint")
    write(path, json.loads(json.dumps(GOOD | about)))
    try:
        found = CheckpointFolder(path).load()
    except UserInputError:
        return
    assert found.round >= 1
