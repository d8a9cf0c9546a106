import json
import math

import pytest
import yaml
from pydantic import BaseModel

from common.analysis.runs import Run, load_runs
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


def test_what_was_not_finite_is_nan(tmp_path):
    write_run(tmp_path / "run", [0.5, None])
    curve = load_runs([tmp_path])[0].curve("test_accuracy")
    assert curve[0] == 0.5
    assert math.isnan(curve[1])


def test_a_folder_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "nothing", tmp_path / "file", tmp_path / ("x" * 300)):
        with pytest.raises(UserInputError, match="must be a folder that can be read"):
            load_runs([path])


def test_links_to_folders_are_not_followed(tmp_path):
    write_run(tmp_path / "run", [0.1])
    (tmp_path / "run" / "loop").symlink_to(tmp_path)
    assert len(load_runs([tmp_path])) == 1


def test_a_damaged_run_is_refused(tmp_path):
    write_run(tmp_path / "good", [0.1])
    write_run(tmp_path / "worse", [0.1, 0.2])
    (tmp_path / "worse" / "rounds.jsonl").write_text("{}")
    with pytest.raises(UserInputError, match=r"^line 1 of '.*worse/rounds\.jsonl' is not allowed"):
        load_runs([tmp_path])


def test_rounds_that_are_lost_are_noticed(tmp_path):
    write_run(tmp_path / "run", [0.1, 0.2])
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"rounds": 3}))
    with pytest.raises(UserInputError, match=r"as many lines as summary\.json says .* but has 2\."):
        load_runs([tmp_path])


@pytest.mark.parametrize("value", ["much", True, [1], 10**400, float("inf")])
def test_a_curve_of_something_else_than_numbers_is_refused(tmp_path, value):
    run = Run({}, [{"round": 1, "seconds": 1.0}, {"round": 2, "seconds": value}], {}, tmp_path)
    with pytest.raises(UserInputError) as caught:
        run.curve("seconds")
    assert str(caught.value) == (
        f"line 2 of '{tmp_path}/rounds.jsonl' is not allowed: it must be a record with the "
        "number 'seconds', or null for it."
    )


def test_a_curve_of_a_key_that_is_missing_is_refused(tmp_path):
    write_run(tmp_path / "run", [0.1])
    (run,) = load_runs([tmp_path])
    with pytest.raises(UserInputError, match=r"line 1 of .* the number 'nosuch'"):
        run.curve("nosuch")


class Keys(BaseModel, extra="ignore", strict=True):
    mu: float
    seed: int


def test_keys_of_a_configuration_are_checked(tmp_path):
    keys = Run({"mu": 1, "seed": 2, 3: "other"}, [], {}, tmp_path).config_as(Keys)
    assert (keys.mu, keys.seed) == (1.0, 2)


@pytest.mark.parametrize(
    ("config", "start", "rule"),
    [
        ({"mu": 1.0}, "seed in ", "given"),
        ({"mu": 1.0, "seed": "2"}, "seed='2' in ", "an integer"),
        ({"mu": 10**5000, "seed": 2}, "mu=<a huge integer> in ", "a number"),
        ({"mu": ["x" * 99] * 99, "seed": 2}, "mu=['xxxxxxxxx", "a number"),
        ({"mu": "\ud800\x1b[0m", "seed": 2}, "mu='\\ud800\\x1b[0m' in ", "a number"),
    ],
)
def test_a_key_that_is_not_allowed_is_told_in_few_words(tmp_path, config, start, rule):
    with pytest.raises(UserInputError) as caught:
        Run(config, [], {}, tmp_path).config_as(Keys)
    message = str(caught.value)
    assert message.startswith(start)
    assert message.endswith(f"in '{tmp_path}/config.yaml' is not allowed: it must be {rule}.")
    assert len(message) < len(str(tmp_path)) + 400
