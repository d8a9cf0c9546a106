import os

import pytest
import torch
from flwr.app import ArrayRecord

from common.errors import UserInputError
from common.experiment.config import ExperimentConfig
from common.experiment.machine import check_machine, client_device
from common.experiment.run_directory import RunDirectory


@pytest.fixture
def num_gpus(monkeypatch):
    """Pretend that this machine has so many GPUs."""

    def pretend(number):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)

    pretend(0)
    return pretend


@pytest.fixture
def config(experiment_values):
    def make(num_cpus=1.0, num_gpus=0.0, **changes):
        resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        return ExperimentConfig.parse(experiment_values | {"client_resources": resources} | changes)

    return make


def refusal(config):
    with pytest.raises(UserInputError) as caught:
        check_machine(config)
    return str(caught.value)


def test_what_is_here_is_allowed(config, num_gpus):
    check_machine(config())
    check_machine(config(num_cpus=os.cpu_count()))
    check_machine(config(num_cpus=0.1))


def test_a_gpu_where_there_is_none_is_refused(config, num_gpus):
    assert refusal(config(num_gpus=0.25)) == (
        "client_resources.num_gpus=0.25 is not allowed: it must be at most 0, the number of GPUs "
        "here."
    )


def test_a_gpu_where_there_is_one_is_allowed(config, num_gpus):
    num_gpus(1)
    check_machine(config(num_gpus=0.25))
    check_machine(config(num_gpus=1.0))
    assert refusal(config(num_gpus=2.0)).startswith("client_resources.num_gpus=2 is not allowed")


def test_more_cpus_than_there_are_are_refused(config, num_gpus, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    check_machine(config(num_cpus=4.0))
    assert refusal(config(num_cpus=4.5)) == (
        "client_resources.num_cpus=4.5 is not allowed: it must be at most 4, the number of CPUs "
        "here."
    )


def test_what_a_cluster_has_is_not_checked_here(config, num_gpus):
    check_machine(config(num_gpus=8.0, num_cpus=1e6, ray_address="auto"))


@pytest.mark.parametrize(
    ("device", "available", "allowed"),
    [
        ("cpu", 0, True),
        ("cuda", 0, False),
        ("cuda:0", 0, False),
        ("cuda", 1, True),
        ("cuda:0", 1, True),
        ("cuda:1", 1, False),
        ("cuda:1", 2, True),
        ("cuda:10", 2, False),
    ],
)
def test_server_device(config, num_gpus, device, available, allowed):
    num_gpus(available)
    if allowed:
        check_machine(config(server_device=device))
    else:
        assert refusal(config(server_device=device)) == (
            f"server_device={device!r} is not allowed: it must be cpu or one of the {available} "
            "GPUs here."
        )


def test_server_device_is_checked_even_with_a_cluster(config, num_gpus):
    assert "server_device" in refusal(config(server_device="cuda", ray_address="auto"))


def test_clients_train_where_ray_reserves(config):
    assert client_device(config(num_gpus=0.0)) == torch.device("cpu")
    assert client_device(config(num_gpus=0.5)) == torch.device("cuda")


def test_output_dir_that_can_be_made_is_allowed_and_not_made(config, num_gpus, tmp_path):
    check_machine(config(output_dir=str(tmp_path)))
    check_machine(config(output_dir=str(tmp_path / "a" / "b" / "c")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "/a", "/a/b"])
def test_output_dir_at_or_below_a_file_is_refused(config, num_gpus, tmp_path, below):
    file = tmp_path / "file"
    file.touch(0o777)  # Like a folder, one may write and "execute" it.
    assert refusal(config(output_dir=f"{file}{below}")) == (
        f"output_dir='{file}{below}' is not allowed: it must be a folder that can be written, and "
        f"'{file}' is none."
    )


def test_output_dir_in_a_folder_without_permission_is_refused(
    config, num_gpus, tmp_path, monkeypatch
):
    """The answer of the system is made up: for root, every folder can be written."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    assert refusal(config(output_dir=str(tmp_path / "new"))) == (
        f"output_dir='{tmp_path / 'new'}' is not allowed: it must be a folder that can be written,"
        f" and '{tmp_path}' is none."
    )


@pytest.mark.parametrize("name", ["a" * 300, "~nobody-of-this-name/a"])
def test_output_dir_that_no_path_leads_to_is_refused(config, num_gpus, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    message = refusal(config(output_dir=name))
    assert message.startswith(f"output_dir={name!r} is not allowed: it must be a folder that can ")
    assert "\n" not in message


def test_without_output_dir_a_config_of_the_users_own_does_not_matter(
    experiment_values, tmp_path, monkeypatch
):
    (tmp_path / "config.yaml").write_text("mine: true\n")
    monkeypatch.chdir(tmp_path)
    check_machine(ExperimentConfig.parse(experiment_values))
    with pytest.raises(UserInputError, match=r"config\.yaml' is not allowed"):
        check_machine(ExperimentConfig.parse(experiment_values | {"output_dir": "."}))


def test_a_run_of_the_same_configuration_may_go_on_and_another_may_not(config, num_gpus, tmp_path):
    with RunDirectory(config(output_dir=str(tmp_path)), "inline"):
        pass
    before = sorted(tmp_path.rglob("*"))
    check_machine(config(output_dir=str(tmp_path)))
    check_machine(config(output_dir=str(tmp_path), checkpoint_every=9))
    assert "seed=8 is not allowed: it must be 7, " in refusal(
        config(output_dir=str(tmp_path), seed=8)
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_being_written_is_refused(config, num_gpus, tmp_path):
    with RunDirectory(config(output_dir=str(tmp_path)), "inline"):
        message = refusal(config(output_dir=str(tmp_path)))
    assert message.endswith("it must be a folder that no other process is writing a run into.")


def test_a_complete_run_need_not_be_writable(config, num_gpus, tmp_path, monkeypatch):
    with RunDirectory(config(output_dir=str(tmp_path)), "inline") as directory:
        directory.complete(ArrayRecord(), {})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    check_machine(config(output_dir=str(tmp_path)))
    assert "seed=8 is not allowed: it must be 7, " in refusal(
        config(output_dir=str(tmp_path), seed=8)
    )


def test_an_incomplete_run_must_be_writable(config, num_gpus, tmp_path, monkeypatch):
    with RunDirectory(config(output_dir=str(tmp_path)), "inline"):
        pass
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "must be a folder that can be written" in refusal(config(output_dir=str(tmp_path)))
