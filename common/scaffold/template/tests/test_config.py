import math

import pytest
from new_baseline.config import NewBaselineConfig
from refusal import refusal


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("synthetic_alpha", -0.5, "greater than or equal to 0"),
        ("synthetic_beta", math.inf, "a finite number"),
        ("num_epochs", 0, "greater than or equal to 1"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(make_config, key, value, allowed):
    values = make_config().model_dump() | {key: value}
    message = refusal(NewBaselineConfig.parse, values)
    assert message == f"{key}={value!r} is not allowed: it must be {allowed}."
