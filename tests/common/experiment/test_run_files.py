import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager

import pytest
import yaml

from common.errors import UserInputError
from common.experiment.config import ExperimentConfig
from common.experiment.run_files import (
    changed_keys,
    is_complete,
    lock,
    read_config,
    require_free_or_own,
    require_unlocked,
)


@pytest.fixture
def config(experiment_values):
    def make(**changes):
        return ExperimentConfig.parse(experiment_values | changes)

    return make


@pytest.fixture
def run_of(tmp_path):
    """Make tmp_path the folder of a run of a configuration."""

    def write(config):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
        return tmp_path

    return write


def test_a_run_is_complete_with_a_summary_and_a_configuration(tmp_path):
    assert not is_complete(tmp_path)
    (tmp_path / "summary.json").touch()
    assert not is_complete(tmp_path)
    (tmp_path / "config.yaml").touch()
    assert is_complete(tmp_path)
    (tmp_path / "summary.json").unlink()
    assert not is_complete(tmp_path)


def test_a_configuration_is_read_as_it_was(config, run_of):
    written = config(client_timeout=math.inf, ray_address="a: 'b'\n#é", learning_rate=1e-30)
    assert read_config(run_of(written), ExperimentConfig) == written


def refusal_of_config(path, text):
    (path / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserInputError) as caught:
        read_config(path, ExperimentConfig)
    message = str(caught.value)
    start = f"'{path / 'config.yaml'}' is not allowed: it must be "
    assert message.startswith(start)
    assert "\n" not in message
    assert len(message) - len(str(path)) < 500
    return message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "null",
        "- seed",
        "seed: 7",
        "a: [",
        "a: \0",
        "seed: 7\n---\nseed: 8\n",
        b"\xff\xfe\xfa",
        b"a: \xc3\x28",
        "[" * 50_000,
        "{a: " * 20_000,
        "&a {b: *a}",
        "&a [*a]",
        "!!python/object/apply:os.system ['touch hacked']",
        "seed: !!python/object/apply:os._exit [0]",
        "seed: !!python/name:os.system",
        "!unknown tag",
        "? [1]\n: 2",
        "<<: 5",
        "a: " + "1:" * 300 + "1.5",
        "a: !!timestamp foo",
        "a: !!bool foo",
        "a: !!int ''",
        "a: !!float ''",
        "a: 2020-99-99",
        "a: 2001-12-14t21:59:43.10-99:99",
        "seed: " + "9" * 5000,
    ],
    ids=lambda text: repr(text[:40]),
)
def test_a_configuration_of_somebody_elses_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    refusal_of_config(tmp_path, text)
    assert os.listdir(tmp_path) == ["config.yaml"]  # noqa: PTH208


@pytest.mark.parametrize(
    "extra",
    [
        "unknown: 1",
        "seed.x: 1",
        "engine.x.y: 1",
        "client_resources.num_cpus.x: 1",
        "seed: [[[[1]]]]",
        "seed: &s [*s]",
        "client_resources: &a {num_cpus: *a}",
        "precision: " + "x" * 50_000,
        "? " + "k" * 90_000 + "\n: 1",
        "k: " + "{b: " * 200 + "1" + "}" * 200,
        "repeat_num: x",
        "1: 2",
        ".nan: 2",
        "null: 2",
    ],
    ids=lambda extra: extra[:40],
)
def test_one_line_too_many_is_refused(config, run_of, extra):
    path = run_of(config())
    text = (path / "config.yaml").read_text()
    refusal_of_config(path, f"{text}{extra}\n")


def bomb(level):
    """Lists or tables of which each holds the one before twice: 2^40 in all."""
    lines = ["a0: &a0 " + level.format("1", "1")]
    lines += [f"a{i}: &a{i} " + level.format(f"*a{i - 1}", f"*a{i - 1}") for i in range(1, 41)]
    return "\n".join(lines)


@pytest.mark.parametrize("level", ["[{}, {}]", "{{x: {}, y: {}}}"])
def test_a_configuration_that_unfolds_to_a_huge_one_is_refused(tmp_path, level):
    """In a process of its own, for even to show the bomb would take forever."""
    (tmp_path / "config.yaml").write_text(bomb(level))
    code = """
        import sys
        from pathlib import Path
        from common.errors import UserInputError
        from common.experiment.config import ExperimentConfig
        from common.experiment.run_files import read_config
        try:
            read_config(Path(sys.argv[1]), ExperimentConfig)
        except UserInputError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert "is not allowed: it must be a YAML mapping without aliases" in done.stdout
    assert len(done.stdout) < 1_000


def test_a_huge_configuration_is_not_read(tmp_path):
    assert "at most 16,384 bytes that can be read (it is larger)" in refusal_of_config(
        tmp_path, "a: 1\n" * 30_000
    )


def test_a_configuration_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserInputError, match=r"\(No such file or directory\)"):
        read_config(tmp_path, ExperimentConfig)
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(UserInputError, match=r"\(it is no file\)"):
        read_config(tmp_path, ExperimentConfig)


def test_a_folder_without_a_run_is_free(config, tmp_path):
    require_free_or_own(tmp_path, config())
    require_free_or_own(tmp_path / "new", config())
    (tmp_path / "rounds.jsonl").touch()
    require_free_or_own(tmp_path, config())


def test_the_same_configuration_may_go_on(config, run_of):
    require_free_or_own(run_of(config()), config())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_clients", 7),
        ("clients_per_round", 2),
        ("num_rounds", 4),
        ("num_epochs", 3),
        ("batch_size", 11),
        ("learning_rate", 0.04),
        ("precision", "bfloat16"),
        ("seed", 8),
        ("server_device", "cuda"),
        ("on_client_failure", "leave_out"),
    ],
)
def test_another_configuration_is_refused_with_the_key(config, run_of, key, value):
    path, before = run_of(config()), getattr(config(), key)
    with pytest.raises(UserInputError) as caught:
        require_free_or_own(path, config(**{key: value}))
    assert str(caught.value) == (
        f"{key}={value!r} is not allowed: it must be {before!r}, as in the run that {str(path)!r} "
        "holds, or output_dir another folder."
    )


def test_clients_on_a_gpu_are_another_configuration(config, run_of):
    path = run_of(config())
    on_gpu = config(client_resources={"num_cpus": 1.0, "num_gpus": 0.5})
    with pytest.raises(UserInputError, match=r"^client_resources\.num_gpus=0\.5 .* must be 0\.0, "):
        require_free_or_own(path, on_gpu)


CHANGES = {
    "engine": "ray",
    "client_resources": {"num_cpus": 0.5, "num_gpus": 0.0},
    "ray_address": "auto",
    "client_timeout": 60.0,
    "checkpoint_every": 5,
    "output_dir": "elsewhere",
}


def test_keys_that_change_no_result_may_differ_and_are_told(config, run_of):
    path = run_of(config())
    require_free_or_own(path, config(**CHANGES))
    assert changed_keys(path, config()) == {}
    assert changed_keys(path, config(**CHANGES)) == {
        "engine": "ray",
        "client_resources.num_cpus": 0.5,
        "ray_address": "auto",
        "client_timeout": 60.0,
        "checkpoint_every": 5,
    }


def test_a_limit_that_decides_who_is_left_out_must_stay(config, run_of):
    changes = {"engine": "ray", "on_client_failure": "leave_out"}
    path = run_of(config(**changes, client_timeout=5.0))
    with pytest.raises(UserInputError, match=r"^client_timeout=6\.0 .* must be 5\.0, "):
        require_free_or_own(path, config(**changes, client_timeout=6.0))
    require_free_or_own(path, config(**changes, client_timeout=5.0, checkpoint_every=2))


def test_a_folder_with_a_configuration_of_another_kind_is_refused(config, tmp_path):
    (tmp_path / "config.yaml").write_text("mine: true\n")
    with pytest.raises(UserInputError, match=r"config\.yaml' is not allowed"):
        require_free_or_own(tmp_path, config())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    return tmp_path


@contextmanager
def another_process_that_locks(folder):
    code = """
        import sys, time
        from pathlib import Path
        from common.experiment.run_files import lock
        held = lock(Path(sys.argv[1]))
        print("locked", flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "locked\n"
            yield process
        finally:
            process.kill()


def refusal_of_lock(folder, take):
    with pytest.raises(UserInputError) as caught:
        take(folder)
    assert str(caught.value) == (
        f"output_dir={str(folder)!r} is not allowed: it must be a folder that no other process is "
        "writing a run into."
    )


def test_a_folder_that_another_process_writes_is_refused_until_that_is_killed(folder):
    with another_process_that_locks(folder) as process:
        refusal_of_lock(folder, lock)
        refusal_of_lock(folder, require_unlocked)
        process.send_signal(signal.SIGKILL)
        process.wait()
        require_unlocked(folder)
        lock(folder).release()


def test_a_folder_is_locked_against_this_process_too(folder):
    held = lock(folder)
    refusal_of_lock(folder, lock)
    refusals = []
    thread = threading.Thread(target=lambda: refusals.append(refusal_of_lock(folder, lock)))
    thread.start()
    thread.join()
    assert refusals == [None]
    held.release()
    lock(folder).release()


def test_asking_whether_a_folder_is_locked_leaves_it_as_it_is(folder, tmp_path):
    require_unlocked(tmp_path / "new")
    require_unlocked(folder)
    assert list((folder / "checkpoint").iterdir()) == []
    lock(folder).release()
    require_unlocked(folder)
    lock(folder).release()
