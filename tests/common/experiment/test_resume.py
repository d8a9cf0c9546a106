import os
from pathlib import Path

import pytest
import yaml

from common.errors import UserInputError
from common.experiment.config import ExperimentConfig
from common.experiment.resume import find_resumed


@pytest.fixture
def make_run(experiment_values, tmp_path):
    """Makes the folder of a run that was stopped."""

    def make(name="run", **changes):
        folder = tmp_path / name
        folder.mkdir()
        values = experiment_values | {"output_dir": "/where/it/was/once"} | changes
        (folder / "config.yaml").write_text(yaml.safe_dump(values))
        return folder

    return make


def find(*arguments):
    return find_resumed(arguments, ExperimentConfig)


def refusal(*arguments):
    with pytest.raises(UserInputError) as caught:
        find(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [[], ["mu=1.0"], ["--multirun", "seed=1,2"], ["+resume=a"], ["resume"], ["resumed=a"]],
)
def test_who_does_not_ask_begins_anew(arguments):
    assert find(*arguments) is None


def test_a_run_is_its_configuration_where_it_lies_now(make_run, experiment_values):
    folder = make_run(seed=3)
    resumed = find(f"resume={folder}")
    assert resumed.values == experiment_values | {"seed": 3, "output_dir": str(folder)}
    assert resumed.arguments == []


def test_the_address_of_a_cluster_is_not_taken_from_a_run(make_run):
    """Who joins a cluster runs what it sends."""
    folder = make_run(ray_address="192.0.2.1:6379")
    assert find(f"resume={folder}").values["ray_address"] == ""


@pytest.mark.parametrize("flag", ["-m", "--multirun", "--multi", "--mul", "hydra.mode=MULTIRUN"])
def test_a_sweep_is_refused_however_it_is_asked_for(make_run, flag):
    assert f"is not allowed with {flag}: " in refusal(f"resume={make_run()}", flag)


def test_the_rest_of_the_command_line_stays(make_run):
    resumed = find("engine=ray", f"resume={make_run()}", "checkpoint_every=5")
    assert resumed.arguments == ["engine=ray", "checkpoint_every=5"]


def test_the_folder_may_be_relative_or_at_home(make_run, tmp_path, monkeypatch):
    folder = make_run()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("run", "./run/", "run/../run", "~/run"):
        assert find(f"resume={name}").values["output_dir"] == str(folder)


@pytest.mark.parametrize(
    "name", ["10-20-30", "1e3", "a b", "a'b", "null", "é", "a=b", "a(1)", "a,b", "{a}"]
)
def test_what_is_printed_when_a_run_stops_can_be_given_as_it_is(make_run, name):
    folder = make_run(name)
    assert find(f"resume={folder}").values["output_dir"] == str(folder)


@pytest.mark.parametrize("name", ["nothing", "nothing/here", "{a:", "[", "a,b", "~nobody-at-all/a"])
def test_what_is_no_folder_of_a_run_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert " is not allowed: it must be the folder of a run" in refusal(f"resume={name}")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_name_too_long_is_refused_in_short():
    assert len(refusal(f"resume={'x' * 100_000}")) < 600


def test_a_sweep_is_refused_with_the_way_to_go_on(make_run):
    make_run("0").parent.joinpath("multirun.yaml").touch()
    sweep = Path(make_run("1")).parent
    assert refusal(f"resume={sweep}") == (
        f"resume={str(sweep)!r} is not allowed: it must be the folder of a run, which holds its "
        "config.yaml; a sweep goes on when its own command is given again, with "
        "output_dir=FOLDER."
    )


@pytest.mark.parametrize("also", ["-m", "--multirun", "output_dir=elsewhere", "resume=another"])
def test_one_run_in_its_own_folder_is_gone_on_with(make_run, also):
    asked = f"resume={make_run()}"
    expected = (
        f"{asked} is not allowed with {also}: it must name the one run to go on with, in its own "
        "folder."
    )
    assert refusal(asked, also) == expected


def test_a_configuration_that_is_not_one_of_this_experiment_is_refused(make_run):
    assert "did you mean num_rounds?" in refusal(f"resume={make_run(num_round=3)}")
    assert "seed='x' is not allowed" in refusal(f"resume={make_run('other', seed='x')}")


@pytest.mark.parametrize("reference", ["${oc.env:HOME}", "a${seed}", "${"])
def test_a_configuration_that_refers_to_something_is_refused(make_run, reference):
    """Hydra would put the value of a variable there."""

    class LabelledConfig(ExperimentConfig):
        label: str

    folder = make_run(label=reference)
    with pytest.raises(UserInputError) as caught:
        find_resumed([f"resume={folder}"], LabelledConfig)
    assert str(caught.value) == (
        f"{str(folder)!r} is not allowed: label={reference!r} of its config.yaml must be a "
        "value, not a reference."
    )
