import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserInputError
from common.experiment.config import (
    ExperimentConfig,
    PositiveFloat,
    Probability,
    flat_keys,
    flatten,
    nest,
    read_default_config,
)

keys = st.text("ab_ é0", max_size=3)
scalars = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("a.é'", max_size=3)
tables = st.dictionaries(
    keys,
    st.recursive(
        scalars, lambda inner: st.dictionaries(keys, inner, min_size=1, max_size=3), max_leaves=8
    ),
    max_size=4,
)

positive = st.integers(1, 10**6)
configs = st.integers(1, 10**6).flatmap(
    lambda num_clients: st.builds(
        lambda **values: ExperimentConfig.parse(values),
        num_clients=st.just(num_clients),
        clients_per_round=st.integers(1, num_clients),
        num_rounds=positive,
        num_epochs=positive,
        batch_size=positive,
        learning_rate=st.floats(1e-9, 1e9),
        precision=st.sampled_from(["float32", "bfloat16", "float16"]),
        seed=st.integers(0, 2**32 - 1),
        engine=st.sampled_from(["inline", "ray"]),
        client_resources=st.fixed_dictionaries(
            {
                "num_cpus": st.floats(0.1, 64),
                "num_gpus": st.floats(0, 1) | st.integers(0, 8).map(float),
            }
        ),
        ray_address=st.text("a:/.0", max_size=5),
        server_device=st.sampled_from(["cpu", "cuda", "cuda:0", "cuda:11"]),
        client_timeout=st.just(math.inf),
        on_client_failure=st.sampled_from(["end", "leave_out"]),
        checkpoint_every=positive,
        output_dir=st.text("a ~/.é", max_size=5),
    )
)


def refusal(values, schema=ExperimentConfig):
    with pytest.raises(UserInputError) as caught:
        schema.parse(values)
    return str(caught.value)


@given(tables)
def test_nest_undoes_flatten(table):
    assert nest(flatten(table)) == table


@given(tables)
def test_flatten_undoes_nest(table):
    flat = flatten(table)
    assert flatten(nest(flat)) == flat
    assert not any(isinstance(value, dict) for value in flat.values())


@given(tables)
def test_nest_leaves_what_is_nested(table):
    assert nest(table) == table


def test_dotted_keys_below_one_table_share_it():
    dotted = {"a.b": 1, "c": 2, "a.d.e": 3, "a.d.f": 4}
    nested = {"a": {"b": 1, "d": {"e": 3, "f": 4}}, "c": 2}
    assert nest(dotted) == nested
    assert flatten(nested) == dotted


def test_flat_keys_lists_nested_ones_dotted(experiment_values):
    assert sorted(flat_keys(ExperimentConfig)) == sorted(flatten(experiment_values))


def test_default_table_is_read_nested(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.flwr.app.config]\nmu = 1.0\nresources.num_cpus = 2\n")
    assert read_default_config(file) == {"mu": 1.0, "resources": {"num_cpus": 2}}


def test_values_arrive_unchanged(experiment_values):
    assert ExperimentConfig.parse(experiment_values).model_dump() == experiment_values


def test_dotted_and_nested_forms_agree(experiment_values):
    nested = ExperimentConfig.parse(experiment_values)
    flat = flatten(experiment_values)
    assert "client_resources.num_cpus" in flat
    assert ExperimentConfig.parse(flat) == nested
    assert ExperimentConfig.from_run_config(flat) == nested


def test_parsing_leaves_its_input_alone(experiment_values):
    values = experiment_values | {"repeat_num": 2}
    before = dict(values)
    ExperimentConfig.parse(values)
    assert values == before


@given(configs)
def test_run_config_round_trip(config):
    run_config = config.to_run_config()
    assert all(type(value) in (bool, int, float, str) for value in run_config.values())
    assert ExperimentConfig.from_run_config(run_config) == config


def test_an_integer_will_do_for_a_float(experiment_values):
    rate = ExperimentConfig.parse(experiment_values | {"learning_rate": 1}).learning_rate
    assert type(rate) is float
    assert rate == 1.0


@pytest.mark.parametrize(
    ("seed", "repeat_num", "expected"),
    [(0, 0, 0), (7, 3, 10), (0, 4, 4), (2**32 - 2, 1, 2**32 - 1)],
)
def test_repetition_is_added_to_the_seed(experiment_values, seed, repeat_num, expected):
    config = ExperimentConfig.parse(experiment_values | {"seed": seed, "repeat_num": repeat_num})
    assert config == ExperimentConfig.parse(experiment_values | {"seed": expected})


@pytest.mark.parametrize("repeat_num", [-1, 1.0, True, "1", None])
def test_repetition_must_be_a_whole_number(experiment_values, repeat_num):
    assert refusal(experiment_values | {"repeat_num": repeat_num}) == (
        f"repeat_num={repeat_num!r} is not allowed: it must be a whole number from 0."
    )


def test_repetition_past_the_largest_seed_is_refused(experiment_values):
    message = refusal(experiment_values | {"seed": 2**32 - 1, "repeat_num": 1})
    assert message == "seed=4294967296 is not allowed: it must be less than 4294967296."


def test_a_wrong_seed_is_reported_as_the_seed(experiment_values):
    message = refusal(experiment_values | {"seed": "a", "repeat_num": 1})
    assert message == "seed='a' is not allowed: it must be an integer."


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("num_clients", 0, "greater than or equal to 1"),
        ("num_clients", -5, "greater than or equal to 1"),
        ("num_clients", 2.0, "an integer"),
        ("num_clients", True, "an integer"),
        ("num_clients", None, "an integer"),
        ("clients_per_round", 0, "greater than or equal to 1"),
        ("num_rounds", 0, "greater than or equal to 1"),
        ("num_rounds", "ten", "an integer"),
        ("num_rounds", [1, 2], "an integer"),
        ("num_epochs", 0, "greater than or equal to 1"),
        ("num_epochs", 0.5, "an integer"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("learning_rate", 0.0, "greater than 0"),
        ("learning_rate", -0.1, "greater than 0"),
        ("learning_rate", math.inf, "a finite number"),
        ("learning_rate", math.nan, "a finite number"),
        ("learning_rate", "0.1", "a number"),
        ("learning_rate", False, "a number"),
        ("precision", "float64", "'float32', 'bfloat16' or 'float16'"),
        ("precision", 32, "'float32', 'bfloat16' or 'float16'"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**32, "less than 4294967296"),
        ("seed", 0.0, "an integer"),
        ("engine", "threads", "'inline' or 'ray'"),
        ("engine", 1, "'inline' or 'ray'"),
        ("client_resources.num_cpus", 0.0, "greater than 0"),
        ("client_resources.num_cpus", "two", "a number"),
        ("client_resources.num_gpus", -0.5, "greater than or equal to 0"),
        ("client_resources.num_gpus", math.inf, "a finite number"),
        ("client_resources.num_gpus", 1.5, "at most 1 or a whole number"),
        ("client_resources", 3, "a dictionary or instance of ClientResources"),
        ("ray_address", 1, "a string"),
        ("ray_address", None, "a string"),
        ("server_device", "gpu", r"of the form ^(cpu|cuda(:\d+)?)$"),
        ("server_device", "cuda:", r"of the form ^(cpu|cuda(:\d+)?)$"),
        ("server_device", "cpu:0", r"of the form ^(cpu|cuda(:\d+)?)$"),
        ("server_device", 0, "a string"),
        ("client_timeout", 0.0, "greater than 0"),
        ("client_timeout", -1.0, "greater than 0"),
        ("client_timeout", -math.inf, "greater than 0"),
        ("client_timeout", math.nan, "greater than 0"),
        ("client_timeout", "inf", "a number"),
        ("client_timeout", None, "a number"),
        ("on_client_failure", "ignore", "'end' or 'leave_out'"),
        ("on_client_failure", True, "'end' or 'leave_out'"),
        ("checkpoint_every", 0, "greater than or equal to 1"),
        ("checkpoint_every", 1.0, "an integer"),
        ("output_dir", 7, "a string"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(experiment_values, key, value, allowed):
    if "." in key:
        values = flatten(experiment_values) | {key: value}
    else:
        values = experiment_values | {key: value}
    assert refusal(values) == f"{key}={value!r} is not allowed: it must be {allowed}."


def test_a_cohort_larger_than_the_federation_is_refused(experiment_values):
    assert refusal(experiment_values | {"num_clients": 5, "clients_per_round": 6}) == (
        "clients_per_round=6 is not allowed: it must be at most num_clients, 5."
    )
    ExperimentConfig.parse(experiment_values | {"num_clients": 6, "clients_per_round": 6})


@pytest.mark.parametrize("timeout", [1, 0.5, 1e-9, math.inf])
def test_a_client_may_take_any_time_or_forever(experiment_values, timeout):
    values = experiment_values | {"engine": "ray", "client_timeout": timeout}
    config = ExperimentConfig.parse(values)
    assert config.client_timeout == timeout
    assert type(config.client_timeout) is float
    assert ExperimentConfig.from_run_config(config.to_run_config()) == config


def test_a_client_in_the_servers_own_process_cannot_be_stopped(experiment_values):
    assert refusal(experiment_values | {"engine": "inline", "client_timeout": 60}) == (
        "client_timeout=60.0 is not allowed with engine='inline': it must be inf, for a client in "
        "the server's own process cannot be stopped."
    )


def nested(depth, value=1):
    for _ in range(depth):
        value = {"a": value}
    return value


def endless():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        b"x" * 10**6,
        [1] * 10**5,
        [["x" * 1000] * 1000] * 1000,
        {f"key{i}": "x" * 1000 for i in range(1000)},
        {"x" * 10**5: 1},
        nested(100),
        10**4000,
        endless(),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(
    "key", ["seed", "engine", "output_dir", "client_resources", "repeat_num", "unknown"]
)
def test_a_value_of_any_size_and_kind_is_told_in_short(experiment_values, key, value):
    if key == "output_dir" and isinstance(value, str):
        return  # Which is one of the allowed values.
    assert len(refusal(experiment_values | {key: value})) < 3_000


@pytest.mark.parametrize(
    "keys",
    [
        {"seed": 1, "seed.x": 2},
        {"engine": "ray", "engine.x.y": 2},
        {"client_resources.num_cpus": 1.0, "client_resources.num_cpus.x": 1},
        {"k\n\x1b[31m": 1},
        {"k" * 10**5: 1},
        {"": 1},
        {".": 1},
        {"." * 500: 1},
    ],
    ids=lambda keys: repr(list(keys)[-1][:30]),
)
def test_odd_keys_are_refused_in_one_short_sentence(experiment_values, keys):
    message = refusal(flatten(experiment_values) | keys)
    assert len(message) < 1_000
    assert message.isprintable()


class OddKinds(ExperimentConfig):
    """A baseline's own schema with other kinds of values."""

    fraction: Probability
    rate: PositiveFloat
    flag: bool
    kind: Literal["a", "b", "c"]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("fraction", 1.5, "less than or equal to 1"),
        ("fraction", -0.1, "greater than or equal to 0"),
        ("flag", 1, "a boolean"),
        ("flag", "yes", "a boolean"),
        ("kind", "d", "'a', 'b' or 'c'"),
        ("kind", ["a"], "'a', 'b' or 'c'"),
    ],
)
def test_a_baselines_own_values_are_refused_alike(experiment_values, key, value, allowed):
    own = {"fraction": 0.5, "rate": 1.0, "flag": True, "kind": "a"}
    OddKinds.parse(experiment_values | own)
    message = refusal(experiment_values | own | {key: value}, OddKinds)
    assert message == f"{key}={value!r} is not allowed: it must be {allowed}."


@pytest.mark.parametrize("key", ["num_rounds", "client_resources", "output_dir"])
def test_missing_key(experiment_values, key):
    del experiment_values[key]
    assert refusal(experiment_values) == f"{key} is missing: it must be given."


def test_missing_nested_key(experiment_values):
    del experiment_values["client_resources"]["num_gpus"]
    assert refusal(experiment_values) == ("client_resources.num_gpus is missing: it must be given.")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("num_round", "num_rounds"),
        ("learningrate", "learning_rate"),
        ("client_resources.num_cpu", "client_resources.num_cpus"),
        ("client_resource.num_gpus", "client_resources.num_gpus"),
    ],
)
def test_unknown_key_names_what_was_probably_meant(experiment_values, key, meant):
    message = refusal(flatten(experiment_values) | {key: 1})
    assert message.endswith(f" is not a key of this experiment: did you mean {meant}?")
    assert message.startswith(key.partition(".")[0])


def test_unknown_key_like_no_other_lists_the_keys(experiment_values):
    message = refusal(experiment_values | {"xyzzy": 1})
    listed = message.removeprefix("xyzzy is not a key of this experiment: the keys are ")
    assert listed.removesuffix(".").split(", ") == sorted(flatten(experiment_values))


@pytest.mark.parametrize("bad", [True, 1.0])
@pytest.mark.parametrize("valid_first", [True, False])
def test_cache_tells_types_apart(experiment_values, bad, valid_first):
    """1, 1.0 and True are equal and hash alike, but only 1 is a seed."""
    run_config = flatten(experiment_values) | {"seed": 1, "ray_address": f"{bad}{valid_first}"}
    if valid_first:
        assert ExperimentConfig.from_run_config(run_config).seed == 1
    with pytest.raises(UserInputError, match=f"^seed={bad} is not allowed: it must be an integer"):
        ExperimentConfig.from_run_config(run_config | {"seed": bad})
    assert type(ExperimentConfig.from_run_config(run_config).seed) is int


def test_cache_tells_schemas_apart(experiment_values):
    run_config = flatten(experiment_values)
    ExperimentConfig.from_run_config(run_config)
    with pytest.raises(UserInputError, match=r"^fraction is missing"):
        OddKinds.from_run_config(run_config)


def test_repeated_calls_are_free(experiment_values):
    run_config = flatten(experiment_values)
    first = ExperimentConfig.from_run_config(run_config)
    assert ExperimentConfig.from_run_config(dict(reversed(run_config.items()))) is first
