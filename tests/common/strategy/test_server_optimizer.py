"""The steps by hand, and beside another implementation of algorithm 2 of Reddi et al. 2021."""

import math

import numpy as np
import pytest
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from hypothesis import assume, given
from hypothesis import strategies as st

from common.arrays import to_array
from common.strategy.server_optimizer import (
    FedAdagrad,
    FedAdam,
    FedAvgM,
    FedYogi,
    make_server_optimizer,
)

NAMES = ["fedavgm", "fedadagrad", "fedadam", "fedyogi"]
DECAYING = ["fedadam", "fedyogi"]
RATES = {
    "server_learning_rate": 0.1,
    "beta_1": 0.9,
    "beta_2": 0.99,
    "tau": 0.001,
    "bias_correction": False,
}


FRACTIONS = st.floats(0, 0.999)


def make(name, w_0, **rates):
    return make_server_optimizer(name, w_0, **RATES | rates)


def test_the_name_chooses_the_optimizer():
    w_0 = {"w": np.zeros(2)}
    kinds = [type(make(name, w_0)) for name in NAMES]
    assert kinds == [FedAvgM, FedAdagrad, FedAdam, FedYogi]
    assert make("none", w_0) is None


STEPS = {
    # m = 2, then 0.5 * 2 - 1 = 0; w = 1 + 0.1 * 2, then + 0.
    "fedavgm": [1.2, 1.2],
    # v = 1 + 4, then + 1; m = 0.5 * 2, then 0.5 * 1 - 0.5 * 1 = 0.
    "fedadagrad": [1 + 0.1 / (math.sqrt(5) + 1), 1 + 0.1 / (math.sqrt(5) + 1)],
    # v = 0.75 * 1 + 0.25 * 4 = 1.75.
    "fedadam": [1 + 0.1 / (math.sqrt(1.75) + 1), 1 + 0.1 / (math.sqrt(1.75) + 1)],
    # v = 1 + 0.25 * 4 = 2, for 1 < 4.
    "fedyogi": [1 + 0.1 / (math.sqrt(2) + 1), 1 + 0.1 / (math.sqrt(2) + 1)],
}


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_by_hand(name):
    """Updates of 2 and -1 from 1; the momentum of the second step is 0."""
    w = {"w": np.array([1.0])}
    optimizer = make(name, w, server_learning_rate=0.1, beta_1=0.5, beta_2=0.75, tau=1.0)
    found = []
    for delta in (2.0, -1.0):
        w = optimizer.step(w, {"w": np.array([delta])})
        found.append(float(w["w"][0]))
    assert found == pytest.approx(STEPS[name], rel=1e-15)


SECOND_MOMENTS = {
    # From 1 by updates of 2, 1 and 0.1, each worked out by hand.
    "fedadagrad": [5.0, 6.0, 6.01],
    "fedadam": [1.75, 1.5625, 1.174375],
    "fedyogi": [2.0, 1.75, 1.7475],
}


@pytest.mark.parametrize("name", SECOND_MOMENTS)
def test_the_second_moment_by_hand(name):
    w = {"w": np.array([0.0])}
    optimizer = make(name, w, beta_2=0.75, tau=1.0)
    found = []
    for delta in (2.0, 1.0, 0.1):
        optimizer.step(w, {"w": np.array([delta])})
        found.append(float(optimizer.state()["server-second-moment"]["w"].numpy()[0]))
    assert found == pytest.approx(SECOND_MOMENTS[name], rel=1e-15)


# Updates of 2 and 4 from 1: m = 1, then 0.5 * 1 + 0.5 * 4 = 2.5, over 1 - 0.5 and 1 - 0.25.
STEP_OF_2 = 0.1 * 2 / (math.sqrt(4) + 1)
CORRECTED = {
    # v = 0.25 * 4 = 1, then 0.75 * 1 + 0.25 * 16 = 4.75, over 1 - 0.75 and 1 - 0.5625.
    "fedadam": [1 + STEP_OF_2, 1 + STEP_OF_2 + 0.1 * (10 / 3) / (math.sqrt(4.75 / 0.4375) + 1)],
    # v = 1 as well, for 0 < 4, then 1 + 0.25 * 16 = 5.
    "fedyogi": [1 + STEP_OF_2, 1 + STEP_OF_2 + 0.1 * (10 / 3) / (math.sqrt(5 / 0.4375) + 1)],
}


@pytest.mark.parametrize("name", DECAYING)
def test_two_steps_with_bias_correction_by_hand(name):
    w = {"w": np.array([1.0])}
    rates = {"beta_1": 0.5, "beta_2": 0.75, "tau": 1.0}
    optimizer = make(name, w, **rates, bias_correction=True)
    found = []
    for delta in (2.0, 4.0):
        w = optimizer.step(w, {"w": np.array([delta])})
        found.append(float(w["w"][0]))
    assert found == pytest.approx(CORRECTED[name], rel=1e-15)


@given(st.floats(1e-3, 1e3), FRACTIONS, FRACTIONS, st.floats(1e-5, 1))
def test_corrected_every_step_along_one_update_is_as_long_as_the_first(delta, beta_1, beta_2, tau):
    """The moments are means of what is always the same, however little weight a round has."""
    w = {"w": np.zeros(1)}
    rates = {"beta_1": beta_1, "beta_2": beta_2, "tau": tau}
    optimizer = make("fedadam", w, **rates, bias_correction=True)
    for t in range(1, 6):
        w = optimizer.step(w, {"w": np.array([delta])})
        np.testing.assert_allclose(w["w"], 0.1 * t * delta / (delta + tau), rtol=1e-9)


def reference(name, w, deltas, eta, beta_1, beta_2, tau, bias_correction=False):
    """Follow the formulas number by number."""
    m, v = 0.0, 0.0 if bias_correction else tau**2
    for t, delta in enumerate(deltas, start=1):
        if name == "fedavgm":
            m = beta_1 * m + delta
            w += eta * m
            continue
        m = beta_1 * m + (1 - beta_1) * delta
        if name == "fedadagrad":
            v += delta**2
        elif name == "fedadam":
            v = beta_2 * v + (1 - beta_2) * delta**2
        else:
            # At a tie the last digit decides on the sign, and so on the whole step.
            assume(delta == 0 or not math.isclose(v, delta**2, rel_tol=1e-6))
            v -= (1 - beta_2) * delta**2 * ((v > delta**2) - (v < delta**2))
        corrections = (1 - beta_1**t, 1 - beta_2**t) if bias_correction else (1, 1)
        w += eta * (m / corrections[0]) / (math.sqrt(v / corrections[1]) + tau)
    return w


@pytest.mark.parametrize(
    ("name", "bias_correction"),
    [*((name, False) for name in NAMES), *((name, True) for name in DECAYING)],
)
@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=6),
    st.integers(1, 5),
    FRACTIONS,
    FRACTIONS,
    st.floats(1e-5, 1),
)
def test_equals_another_implementation(name, bias_correction, first, rounds, beta_1, beta_2, tau):
    rates = {"beta_1": beta_1, "beta_2": beta_2, "tau": tau, "bias_correction": bias_correction}
    w = w_0 = {"a": np.array(first[:1]), "b": np.array([first])}
    optimizer = make(name, w_0, **rates)
    for round_ in range(rounds):
        w = optimizer.step(w, {key: w_t / (round_ + 1) ** 2 for key, w_t in w_0.items()})
    for key, start in w_0.items():
        expected = [
            reference(name, x, [x / (r + 1) ** 2 for r in range(rounds)], 0.1, **rates)
            for x in start.ravel().tolist()
        ]
        assert w[key].shape == start.shape
        np.testing.assert_allclose(w[key].ravel(), expected, rtol=1e-9, atol=1e-12)


def random_tensors(rng, scale=1.0):
    shapes = {"w": (3, 2), "b": (2,), "scale": ()}
    return {key: np.float32(scale * rng.standard_normal(shape)) for key, shape in shapes.items()}


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32_and_near_what_float64_gives(name):
    rng = np.random.default_rng(0)
    single = random_tensors(rng)
    double = {key: w.astype(np.float64) for key, w in single.items()}
    optimizers = make(name, single), make(name, double)
    for _ in range(50):
        delta = random_tensors(rng, 0.01)
        single, double = (
            optimizer.step(w, delta)
            for optimizer, w in zip(optimizers, (single, double), strict=True)
        )
    for key, w in single.items():
        assert w.dtype == np.float32
        np.testing.assert_allclose(w, double[key], rtol=1e-4, atol=1e-5)
    for moments in optimizers[0].state().values():
        assert {array.dtype for array in moments.values()} == {"float32"}


def test_what_it_was_not_made_for_is_not_moved():
    optimizer = make("fedadam", {"w": np.zeros(2)})
    w = {"w": np.zeros(2), "buffer": np.ones(3)}
    assert optimizer.parameters == ("w",)
    assert optimizer.step(w, w).keys() == {"w"}


@pytest.mark.parametrize("name", NAMES)
def test_a_step_leaves_its_input_as_it_was(name):
    w, delta = {"w": np.array([1.0, 2.0])}, {"w": np.array([0.5, -0.5])}
    make(name, w).step(w, delta)
    assert w["w"].tolist() == [1.0, 2.0]
    assert delta["w"].tolist() == [0.5, -0.5]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bias_correction", [False, True])
def test_restored_it_goes_on_as_if_nothing_had_happened(name, bias_correction):
    rng = np.random.default_rng(1)
    w = random_tensors(rng)
    optimizer, restored = (make(name, w, bias_correction=bias_correction) for _ in range(2))
    for _ in range(3):
        w = optimizer.step(w, random_tensors(rng))
    state = optimizer.state()
    delta = random_tensors(rng)
    expected = optimizer.step(w, delta)
    restored.restore(RecordDict({"adaptive-mu": MetricRecord({"mu": 1.0}), **state}))
    found = restored.step(w, delta)
    for key, tensor in expected.items():
        np.testing.assert_array_equal(found[key], tensor)
    assert restored.state() == optimizer.state() != state


def record(**arrays):
    return ArrayRecord({key: to_array(np.asarray(array)) for key, array in arrays.items()})


GOOD = record(w=np.ones(2), b=np.ones(1))


@pytest.mark.parametrize(
    "state",
    [
        RecordDict(),
        RecordDict({"server-momentum": GOOD}),
        RecordDict({"server-second-moment": GOOD}),
        RecordDict({"server-momentum": GOOD, "server-second-moment": MetricRecord({"w": 1.0})}),
        *(
            RecordDict({"server-momentum": GOOD, "server-second-moment": bad})
            for bad in (
                ArrayRecord(),
                record(w=np.ones(2)),
                record(w=np.ones(2), b=np.ones(1), c=np.ones(1)),
                record(w=np.ones(3), b=np.ones(1)),
                record(w=np.ones(2, np.float32), b=np.ones(1)),
                record(w=np.ones(2), b=np.array([-1.0])),
                record(w=np.ones(2), b=np.array([np.nan])),
                record(w=np.ones(2), b=np.array([np.inf])),
            )
        ),
        RecordDict({"server-momentum": record(w=np.ones(2)), "server-second-moment": GOOD}),
        RecordDict(
            {
                "server-momentum": record(w=np.array([1.0, -np.inf]), b=np.ones(1)),
                "server-second-moment": GOOD,
            }
        ),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(state):
    w = {"w": np.ones(2), "b": np.ones(1)}
    optimizer = make("fedadam", w)
    optimizer.step(w, w)
    before = optimizer.state()
    with pytest.raises((KeyError, ValueError)):
        optimizer.restore(state)
    assert optimizer.state() == before


@pytest.mark.parametrize(
    "steps",
    [
        None,
        GOOD,
        *(MetricRecord({"count": count}) for count in (-1, 1.0, [1])),
        MetricRecord({"steps": 1}),
    ],
)
def test_with_bias_correction_a_state_without_its_steps_is_refused(steps):
    w = {"w": np.ones(2), "b": np.ones(1)}
    optimizer = make("fedyogi", w, bias_correction=True)
    optimizer.step(w, w)
    before = optimizer.state()
    state = optimizer.state()
    del state["server-steps"]
    if steps is not None:
        state["server-steps"] = steps
    state["server-momentum"] = GOOD
    with pytest.raises((KeyError, ValueError)):
        optimizer.restore(state)
    assert optimizer.state() == before


def test_without_bias_correction_no_steps_are_kept():
    w = {"w": np.ones(2)}
    assert "server-steps" not in make("fedadam", w).state()
    assert "server-steps" not in make("fedadagrad", w, bias_correction=True).state()


def test_a_momentum_may_be_negative():
    momentum = record(w=np.array([-1.0, 1.0]), b=np.ones(1))
    optimizer = make("fedavgm", {"w": np.ones(2), "b": np.ones(1)})
    optimizer.restore(RecordDict({"server-momentum": momentum}))
    assert optimizer.state()["server-momentum"] == momentum
