import json
import math
import random
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.analysis.results import Results
from common.analysis.runs import Run
from common.errors import StorageError, UserInputError

ARM = {"algorithm": "fedprox", "mu": 1.0, "adaptive_mu": False, "engine": "inline"}


def make_run(folder="nowhere", accuracies=(0.25, 0.5), seed=0, summary=(), **config):
    rounds = [
        {
            "round": i,
            "test_accuracy": accuracy,
            "train_loss": None,
            "mu": 0.5,
            "clients": [1, 2],
            "failed": {},
            "bytes_up": 2**24 + 1,
            "seconds": 0.1,
        }
        for i, accuracy in enumerate(accuracies, 1)
    ]
    config = ARM | {"client_timeout": math.inf, "output_dir": str(folder)} | config
    return Run(config | {"seed": seed}, rounds, dict(summary), folder)


@pytest.fixture
def run(tmp_path):
    """Returns a run whose folder has no environment.json."""
    return lambda **given: make_run(tmp_path, **given)


def same(a, b):
    pd.testing.assert_frame_equal(a.runs, b.runs)
    pd.testing.assert_frame_equal(a.rounds, b.rounds)


def test_a_run_is_a_row_of_its_keys_and_its_origin(tmp_path):
    (tmp_path / "environment.json").write_text(
        json.dumps({"commit": "ab+", "processor": "A, B", "cpus": 2, "gpus": []})
    )
    resources = {"num_cpus": 1.0}
    summary = {"seconds": 1.5, "model_sha256": "12"}
    results = Results.of([make_run(tmp_path, client_resources=resources, summary=summary)])
    assert results.runs.index.name == "run"
    assert results.runs.to_dict("records") == [
        {
            "adaptive_mu": False,
            "algorithm": "fedprox",
            "client_resources.num_cpus": 1.0,
            "client_timeout": math.inf,
            "engine": "inline",
            "mu": 1.0,
            "seed": 0,
            "seconds": 1.5,
            "model_sha256": "12",
            "commit": "ab+",
            "processor": "A, B",
            "cores": 2,
        }
    ]


def test_what_a_run_does_not_tell_of_its_origin_is_nan(run, tmp_path):
    (tmp_path / "environment.json").write_text('{"commit": ["ab"], "cpus": 1e400}')
    row = Results.of([run(summary={"seconds": "long", "model_sha256": "\x00"})]).runs.iloc[0]
    origin = ["seconds", "model_sha256", "commit", "processor", "cores"]
    assert row[origin].isna().all()


def test_a_round_is_a_row_of_its_numbers(run):
    results = Results.of([run(), run(seed=1, accuracies=(None,))])
    assert results.metrics == ["bytes_up", "mu_t", "test_accuracy", "train_loss"]
    assert results.rounds["run"].tolist() == [0, 0, 1]
    assert results.rounds["round"].tolist() == [1, 2, 1]
    assert results.rounds["mu_t"].tolist() == [0.5] * 3
    assert results.rounds["bytes_up"].tolist() == [2**24 + 1] * 3
    assert results.rounds["test_accuracy"].tolist()[:2] == [0.25, 0.5]
    assert results.rounds["test_accuracy"].isna().tolist() == [False, False, True]
    assert results.rounds["train_loss"].isna().all()
    assert {str(results.rounds[name].dtype) for name in ("mu_t", "train_loss")} == {"float32"}


def test_runs_may_differ_in_keys_and_numbers(run):
    other = run(seed=1, new_key=3)
    other.rounds[0]["dissimilarity"] = other.rounds[1]["dissimilarity"] = 2.0
    results = Results.of([run(), other])
    without, with_it = results.select(seed=0), results.select(seed=1)
    assert math.isnan(without.runs["new_key"].iloc[0])
    assert with_it.runs["new_key"].tolist() == [3]
    assert np.isnan(without.curves("dissimilarity")).all()
    assert with_it.curves("dissimilarity").tolist() == [[2, 2]]


def test_an_empty_text_is_not_what_is_unknown(run, tmp_path):
    results = Results.of([run(seed=seed, new_key="") for seed in (0, 1)])
    results.save(tmp_path, "figure1")
    for found in (results, Results.load(tmp_path, "figure1")):
        assert found.runs["new_key"].tolist() == ["", ""]


def test_the_rounds_that_a_stopped_run_did_not_come_to_are_nan(run, tmp_path):
    whole = run(accuracies=(0.1, 0.2, 0.3, 0.4), num_rounds=4)
    stopped = run(seed=1, accuracies=(0.1, 0.2), num_rounds=4, summary={"stopped": "It failed."})
    results = Results.of([whole, stopped])
    assert results.rounds["round"].tolist() == [1, 2, 3, 4] * 2
    for curves in (results.curves("test_accuracy"), results.curves("bytes_up")):
        assert np.isnan(curves).tolist() == [[False] * 4, [False, False, True, True]]
    results.save(tmp_path, "name")
    same(Results.load(tmp_path, "name"), results)


def test_a_run_that_was_stopped_in_its_last_round_misses_none(run):
    stopped = run(num_rounds=2, summary={"stopped": "It failed."})
    assert Results.of([stopped]).curves("test_accuracy").tolist() == [[0.25, 0.5]]


@pytest.mark.parametrize("config", [{}, {"num_rounds": "4"}, {"num_rounds": 10**9}])
def test_a_stopped_run_must_tell_how_many_rounds_it_should_have_had(run, config):
    with pytest.raises(UserInputError, match=r"^num_rounds.* is not allowed: it must be"):
        Results.of([run(summary={"stopped": "It failed."}, **config)])


def test_runs_are_in_the_order_of_configuration_then_seed(run):
    runs = [
        *(run(mu=mu, seed=seed) for mu in (10.0, 2.0) for seed in (10, 2)),
        run(mu=2.0, seed=3, engine="a"),
    ]
    found = Results.of(runs).runs
    expected = [(2, 2), (2, 3), (2, 10), (10, 2), (10, 10)]
    assert list(zip(found["mu"], found["seed"], strict=True)) == expected


def test_the_order_of_folders_does_not_matter(run, tmp_path):
    runs = [
        run(seed=seed, mu=mu, other=other, accuracies=(mu / 8, seed / 8))
        for seed in (0, 1, 2)
        for mu, other in ((1.0, True), (0.5, "text"), (2.0, 7))
    ]
    Results.of(runs).save(tmp_path, "first")
    random.Random(0).shuffle(runs)
    Results.of(runs).save(tmp_path, "second")
    for suffix in ("csv", "parquet"):
        first, second = (tmp_path / f"{name}.{suffix}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_what_was_saved_is_loaded(run, tmp_path):
    results = Results.of(
        [
            run(note="None", maybe=0.1 + 0.2, commas='a,"b"'),
            run(seed=1, accuracies=(0.1, None, 0.3), adaptive_mu=True),
        ]
    )
    results.save(tmp_path / "new" / "folder", "name")
    loaded = Results.load(tmp_path / "new" / "folder", "name")
    same(loaded, results)
    assert loaded.runs["maybe"].tolist()[0] == 0.1 + 0.2
    loaded.save(tmp_path, "again")
    for suffix in ("csv", "parquet"):
        again = tmp_path / f"again.{suffix}"
        assert again.read_bytes() == (tmp_path / f"new/folder/name.{suffix}").read_bytes()


def test_a_selection_can_be_saved(run, tmp_path):
    results = Results.of([run(seed=seed) for seed in range(3)]).select(seed=2)
    results.save(tmp_path, "name")
    assert Results.load(tmp_path, "name").seeds == [2]


def test_files_of_rounds_do_not_tell_time_or_place(run, tmp_path):
    Results.of([run(summary={"seconds": 1.0})]).save(tmp_path, "a")
    slower = run(summary={"seconds": 2.0})
    slower.rounds[0]["seconds"] = 9.0
    Results.of([slower]).save(tmp_path, "b")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_thousand_rounds_take_few_bytes(run, tmp_path):
    accuracies = np.random.default_rng(0).integers(0, 10_000, 1000) / 10_000
    Results.of([run(accuracies=accuracies.tolist())]).save(tmp_path, "name")
    assert (tmp_path / "name.parquet").stat().st_size < 10_000  # In memory they are 28,000.


def test_there_must_be_a_run():
    with pytest.raises(UserInputError, match=r"^runs=\[\] is not allowed"):
        Results.of([])


@pytest.mark.parametrize(
    "config",
    [
        {"mu": [1.0]},
        {"mu": None},
        {"mu": 2**63},
        {"mu": "a\nb"},
        {"mu": "\ud800"},
        {"\ud800": 1},
        {"": 1},
        {"commit": "a"},
        {"run": 1},
    ],
)
def test_a_configuration_that_no_table_can_hold_is_refused(run, config):
    with pytest.raises(UserInputError, match=r"in '.*config\.yaml' is not allowed: it must be a "):
        Results.of([run(**config)])


@pytest.mark.parametrize("seed", ["1", -1, 1.5, True])
def test_a_run_without_a_seed_is_refused(run, seed):
    with pytest.raises(UserInputError, match=r"^seed=.* is not allowed"):
        Results.of([run(seed=seed)])


@pytest.mark.parametrize("name", ["run", "mu_t", "commit", "", "a\nb"])
def test_a_number_of_a_round_with_a_name_that_is_taken_is_refused(run, name):
    strange = run()
    strange.rounds[0][name] = 1
    with pytest.raises(UserInputError, match=r"in '.*rounds\.jsonl' is not allowed: the name "):
        Results.of([strange])


def test_a_number_that_is_not_there_in_every_round_is_refused(run):
    strange = run()
    del strange.rounds[1]["test_accuracy"]
    with pytest.raises(UserInputError, match=r"^line 2 of .* the number 'test_accuracy'"):
        Results.of([strange])


def test_a_damaged_environment_is_refused(run, tmp_path):
    (tmp_path / "environment.json").write_text("[]")
    with pytest.raises(UserInputError, match=r"environment\.json' is not allowed"):
        Results.of([run()])


def test_a_loss_beyond_float32_is_infinite(run):
    wild = run()
    wild.rounds[1]["test_loss"] = wild.rounds[0]["test_loss"] = 1e300
    assert Results.of([wild]).curves("test_loss").tolist() == [[math.inf, math.inf]]


@pytest.fixture
def saved(run, tmp_path):
    Results.of([run(seed=seed) for seed in range(2)]).save(tmp_path, "name")
    return tmp_path


def refusal(folder):
    with pytest.raises(UserInputError) as caught:
        Results.load(folder, "name")
    message = str(caught.value)
    assert message.startswith(
        f"'{folder}/name.csv' with 'name.parquet' is not allowed: they must be the tables of runs "
        "and of their rounds as they were saved ("
    )
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_missing_file_is_refused(saved, suffix):
    (saved / f"name.{suffix}").unlink()
    assert refusal(saved).endswith("(No such file or directory).")
    with pytest.raises(UserInputError):
        Results.find(saved, "name")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3\n", b"\xff\xfe", b"PAR1"])
def test_a_damaged_file_is_refused(saved, suffix, content):
    (saved / f"name.{suffix}").write_bytes(content)
    refusal(saved)


def test_bytes_that_changed_are_noticed_or_change_no_number(saved):
    file, good = saved / "name.parquet", Results.load(saved, "name")
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        with suppress(UserInputError):
            same(Results.load(saved, "name"), good)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n1,", b"\n2,"),
        (b"\n1,", b"\n0,"),
        (b"\n1,", b"\nx,"),
        (b"seed", b"deed"),
        (b"run", b"r"),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(saved, old, new):
    file = saved / "name.csv"
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))
    refusal(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda rounds: rounds[1:],
        lambda rounds: rounds[::-1],
        lambda rounds: rounds.drop(columns="round"),
        lambda rounds: rounds.assign(test_accuracy="much"),
        lambda rounds: rounds.assign(run=0),
    ],
)
def test_rounds_that_are_not_all_there_are_refused(saved, change):
    file = saved / "name.parquet"
    change(pd.read_parquet(file)).to_parquet(file)
    refusal(saved)


def test_what_is_not_there_is_not_found(saved):
    assert Results.find(saved, "other") is None
    same(Results.find(saved, "name"), Results.load(saved, "name"))


def test_a_place_that_cannot_be_written_is_told(saved):
    with pytest.raises(StorageError, match="could not be written"):
        Results.load(saved, "name").save(saved / "name.csv", "name")


@pytest.fixture
def comparison(run):
    """FedProx with two mu, two seeds each, and FedAvg; accuracies tell which is which."""
    arms = [("fedprox", 1.0, 1), ("fedprox", 0.0, 2), ("fedavg", 0.0, 3)]
    return Results.of(
        [
            run(algorithm=algorithm, mu=mu, seed=seed, accuracies=(code / 8, seed / 8))
            for algorithm, mu, code in arms
            for seed in (1, 0)
        ]
    )


def test_runs_are_selected_by_their_keys(comparison):
    assert comparison.select(algorithm="fedprox").seeds == [0, 1, 0, 1]
    assert comparison.select(algorithm="fedprox", mu=1, seed=1).seeds == [1]
    assert comparison.select(mu=7.0).seeds == []
    assert comparison.select().seeds == [0, 1] * 3
    only = comparison.select(mu=1)
    assert set(only.rounds["run"]) == set(only.runs.index)


def test_a_truth_value_is_no_number(comparison):
    assert comparison.select(adaptive_mu=False).seeds == [0, 1] * 3
    assert comparison.select(adaptive_mu=0).seeds == []
    assert comparison.select(mu=True).seeds == []


def test_dotted_keys_can_be_selected(run):
    results = Results.of([run(client_resources={"num_cpus": 1.0})])
    assert results.select(**{"client_resources.num_cpus": 1.0}).seeds == [0]


@pytest.mark.parametrize("key", ["algoritm", "seconds", "run"])
def test_a_key_that_no_run_has_is_refused(comparison, key):
    with pytest.raises(UserInputError, match=f"^{key} is not a key of this experiment"):
        comparison.select(**{key: "fedprox"})


def test_the_curves_of_an_arm_are_in_the_order_of_seeds(comparison):
    arm = comparison.arm({"algorithm": "fedprox", "mu": 0})
    assert arm.seeds == [0, 1]
    assert arm.curves("test_accuracy").tolist() == [[0.25, 0], [0.25, 0.125]]


def test_an_arm_may_differ_in_what_changes_no_result(run):
    runs = [
        run(seed=2, engine="inline", client_timeout=9.0, client_resources={"num_cpus": 1.0}),
        run(seed=1, engine="ray", checkpoint_every=5, client_resources={"num_cpus": 0.5}),
    ]
    assert Results.of(runs).arm({"mu": 1.0}).seeds == [1, 2]


def test_an_arm_must_exist(comparison):
    with pytest.raises(UserInputError) as caught:
        comparison.arm({"algorithm": "fedavg", "mu": 1.0})
    assert str(caught.value) == (
        "algorithm='fedavg', mu=1.0 is not allowed: there must be such a run "
        "(algorithm is 'fedavg' or 'fedprox'; mu is 0.0 or 1.0)."
    )


def test_an_arm_is_one(comparison):
    with pytest.raises(UserInputError) as caught:
        comparison.arm({"algorithm": "fedprox"})
    assert str(caught.value) == (
        "algorithm='fedprox' is not allowed: an arm's runs must differ in seed only, but mu is "
        "0.0 or 1.0."
    )
    with pytest.raises(UserInputError, match="but algorithm is 'fedavg' or 'fedprox'"):
        comparison.arm({})


def test_runs_without_a_key_are_another_arm(run):
    results = Results.of([run(seed=0), run(seed=1, new=1.0)])
    with pytest.raises(UserInputError, match=r"but new is 1\.0 or missing\.$"):
        results.arm({"mu": 1.0})


def test_an_arm_has_a_seed_once(run):
    results = Results.of([run(seed=3), run(seed=3, engine="ray")])
    with pytest.raises(UserInputError, match=r"one run of a seed, but has several of seed 3\.$"):
        results.arm({"mu": 1.0})


def test_curves_must_be_of_one_length(run):
    results = Results.of([run(), run(seed=1, accuracies=(0.1,))])
    with pytest.raises(UserInputError, match=r"^runs of \[1, 2\] rounds are not allowed here"):
        results.curves("test_accuracy")
    with pytest.raises(UserInputError, match="at least one run"):
        results.select(seed=9).curves("test_accuracy")


@pytest.mark.parametrize("metric", ["accuracy", "run", "clients", "seconds"])
def test_a_metric_that_was_not_recorded_is_refused(comparison, metric):
    with pytest.raises(UserInputError) as caught:
        comparison.curves(metric)
    assert str(caught.value) == (
        f"metric='{metric}' is not allowed: it must be one of bytes_up, mu_t, test_accuracy, "
        "train_loss."
    )


# YAML's scalars, and what else a table can hold.
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(),
    st.text(st.characters(exclude_categories=["C", "Z"]), max_size=5),
)


@settings(settings.get_profile("any machine"), max_examples=15)
@given(st.lists(scalars, min_size=1, max_size=5))
def test_any_configuration_is_loaded_as_it_was_saved(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("any")
    runs = [make_run(folder, seed=seed, key=value) for seed, value in enumerate(values)]
    results = Results.of(runs)
    results.save(folder, "name")
    same(Results.load(folder, "name"), results)
