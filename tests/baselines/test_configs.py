"""What holds for the configuration of every baseline: of every folder of baselines/."""

from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_pages import BASELINES

from common.errors import UserInputError
from common.experiment.config import flat_keys, flatten, read_default_config

CONFIGS = {
    folder.name: import_module(f"{folder.name}.replication").REPLICATION.schema
    for folder in BASELINES
}
# The table of defaults of each baseline's pyproject.toml, nested.
DEFAULTS = {folder.name: read_default_config(folder / "pyproject.toml") for folder in BASELINES}

of_every_baseline = pytest.mark.parametrize("package", CONFIGS)


@of_every_baseline
def test_schema_and_table_have_the_same_keys(package):
    assert sorted(flatten(DEFAULTS[package])) == sorted(flat_keys(CONFIGS[package]))


@of_every_baseline
def test_schema_has_no_defaults_of_its_own(package):
    assert all(field.is_required() for field in CONFIGS[package].model_fields.values())


@of_every_baseline
def test_flower_can_carry_every_default(package):
    """It takes scalars only, and types that an override must keep."""
    defaults = flatten(DEFAULTS[package])
    for key, value in defaults.items():
        assert type(value) in (bool, int, float, str), key
    parsed = CONFIGS[package].parse(DEFAULTS[package]).to_run_config()
    assert parsed == defaults
    assert {key: type(value) for key, value in parsed.items()} == {
        key: type(value) for key, value in defaults.items()
    }


@of_every_baseline
@pytest.mark.parametrize("changed", [{}, {"seed": 3, "learning_rate": 0.5, "engine": "ray"}])
def test_run_config_round_trip(package, changed):
    config = CONFIGS[package].parse(DEFAULTS[package] | changed)
    assert CONFIGS[package].from_run_config(config.to_run_config()) == config


@of_every_baseline
@given(data=st.data())
def test_any_value_of_any_key_is_taken_or_refused_in_one_sentence(package, data):
    key = data.draw(st.sampled_from(sorted(flat_keys(CONFIGS[package]))), label="key")
    value = data.draw(
        st.none()
        | st.booleans()
        | st.integers(-5, 5)
        | st.floats(-2, 2)
        | st.text("a1.", max_size=3),
        label="value",
    )
    values = flatten(DEFAULTS[package]) | {key: value}
    try:
        config = CONFIGS[package].parse(values)
    except UserInputError as error:
        message = str(error)
        assert " is not allowed" in message
        assert message.endswith(".")
        assert "\n" not in message
        assert key in message
    else:
        assert config.to_run_config() == values
        assert type(value) is not bool or type(config.to_run_config()[key]) is bool
