import math

import pytest
from distilbert_failures.failure_detector import FailureDetector, FailureThresholds
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

NUM_CLASSES = 4
THRESHOLDS = FailureThresholds(
    action="report",
    exploding_factor=1.5,
    exploding_rises=2,
    oscillation_window=6,
    oscillation_share=0.6,
    oscillation_amplitude=0.2,
    drift=0.1,
    slow_window=4,
    slow_improvement=0.01,
    slow_loss=0.5,
)
# Far from every threshold: half of ln 4 is 0.69.
HEALTHY = 0.6


def observe(records, **changed):
    """Return the failures of each round."""
    detector = FailureDetector(THRESHOLDS.model_copy(update=changed), NUM_CLASSES)
    return [
        detector.observe({"round": number, **record}) for number, record in enumerate(records, 1)
    ]


def modes(losses, **changed):
    found = observe([{"test_loss": loss} for loss in losses], **changed)
    return [[failure.mode for failure in failures] for failures in found]


def test_a_run_that_converges_has_no_failure():
    assert modes([1.2, 0.9, 0.5, 0.4] + [0.35, 0.36] * 10) == [[]] * 24


def test_a_loss_that_is_not_finite_is_none_in_a_record():
    assert modes([HEALTHY, None, HEALTHY]) == [[], ["not_finite"], []]
    assert modes([math.nan]) == [["not_finite"]]


def test_a_loss_explodes_above_that_of_round_1_and_rising():
    """1.5 times 0.4 is 0.6; there must be two rises in a row."""
    losses = [0.4, 0.3, 0.5, 0.6, 0.61, 0.7, 0.65, 0.9, 1.0]
    exploding = [5, 6, 9]
    found = modes(losses)
    assert [number for number, round_ in enumerate(found, 1) if round_] == exploding
    assert {mode for round_ in found for mode in round_} == {"exploding_loss"}


def test_the_rises_must_have_been_seen():
    assert modes([0.4, 2.0]) == [[], []]
    assert modes([0.4, 2.0], exploding_rises=1) == [[], ["exploding_loss"]]


def test_the_training_loss_of_the_clients_may_explode_too():
    losses = [0.0, 1e-3, 0.4, None, 1.0, 2.0, 3.0]
    found = observe([{"test_loss": HEALTHY, "client_train_loss": loss} for loss in losses])
    assert [len(failures) for failures in found] == [0, 0, 1, 0, 0, 0, 1]
    (failure,) = found[-1]
    assert failure.mode == "exploding_loss"
    assert failure.reason == (
        "The training loss of the clients is 3, that of round 1 was 0, and it has risen 2 rounds "
        "in a row."
    )


def test_oscillation_takes_turns_and_amplitude():
    """Of 4 places in 6 rounds, more than 0.6 must turn; the mean of 0.4 and 0.6 is 0.5."""
    assert modes([0.4, 0.6] * 3 + [0.4]) == [[]] * 5 + [["oscillation"]] * 2
    # Changes of 0.09 are 18 % of 0.495; those of 0.11 are 22 %.
    assert modes([0.45, 0.54] * 3) == [[]] * 6
    assert modes([0.44, 0.55] * 3)[-1] == ["oscillation"]
    # Turns at two places of four, and at three.
    assert modes([0.5, 0.6, 0.65, 0.4, 0.6, 0.65])[-1] == []
    assert modes([0.5, 0.6, 0.65, 0.4, 0.6, 0.4])[-1] == ["oscillation"]


def test_a_loss_that_stays_does_not_turn():
    assert modes([0.6, 0.3, 0.3, 0.3, 0.6, 0.3], oscillation_share=0.25)[-1] == []


def test_oscillation_is_not_judged_across_a_loss_that_is_not_finite():
    losses = [0.4, 0.6, None, 0.6, 0.4, 0.6, 0.4, 0.6, 0.4]
    assert [round_ for round_ in modes(losses) if "oscillation" in round_] == [["oscillation"]]
    assert modes(losses)[-1] == ["oscillation"]


@pytest.mark.parametrize(
    ("divergence", "expected"),
    [(0.1, []), (0.11, ["client_drift"]), (None, []), (math.nan, [])],
)
def test_drift_is_relative_to_the_weights(divergence, expected):
    record = {"test_loss": HEALTHY, "divergence": 30.0, "divergence_relative": divergence}
    assert [failure.mode for failure in observe([record])[0]] == expected


def test_convergence_is_slow_after_a_window_without_improvement():
    # 1 % below 1.2 is 1.188.
    assert modes([1.2, 1.3, 1.3, 1.3, 1.189]) == [[]] * 4 + [["slow_convergence"]]
    assert modes([1.2, 1.3, 1.3, 1.3, 1.188])[-1] == []
    assert modes([1.2] * 4)[-1] == []  # The window must have something before it.


def test_a_run_that_came_to_a_low_loss_once_is_not_slow():
    assert modes([0.69] + [0.9, 0.85] * 4) == [[]] * 9
    assert modes([0.7] + [0.9, 0.85] * 4)[-1] == ["slow_convergence"]


def test_convergence_from_a_loss_that_was_not_finite():
    assert modes([None] * 5)[-1] == ["not_finite"]
    assert modes([None, 1.2, 1.2, 1.2, 1.2]) == [["not_finite"], [], [], [], []]
    assert modes([1.2] + [None] * 4)[-1] == ["not_finite"]


def test_a_round_may_show_several_failures():
    found = observe(
        [{"test_loss": loss, "divergence_relative": 1.0} for loss in (1, 1.1, 1.2, 1.4, 1.6)]
    )
    assert [failure.mode for failure in found[-1]] == [
        "exploding_loss",
        "client_drift",
        "slow_convergence",
    ]


def test_reasons_are_sentences_with_the_numbers():
    (turned,) = observe([{"test_loss": loss} for loss in [0.4, 0.6] * 3])[-1]
    assert turned.reason == (
        "The test loss turned 4 times in the last 6 rounds, and changed by 0.2 a round at a mean "
        "of 0.5."
    )
    (apart,) = observe([{"test_loss": HEALTHY, "divergence_relative": 0.25}])[-1]
    assert apart.reason == "The clients' models are 0.25 ||w_t|| from their mean."
    (slow,) = observe([{"test_loss": 1.2}] * 5)[-1]
    assert slow.reason == (
        "The lowest test loss of the last 4 rounds is 1.2, that of all before is 1.2."
    )


losses = st.one_of(st.none(), st.floats(0, 5), st.sampled_from([0.0, 0.5, 1.0, math.inf]))


@given(st.lists(st.tuples(losses, losses, losses), min_size=1, max_size=30), st.data())
def test_what_a_round_shows_does_not_depend_on_later_ones(rows, data):
    """Whatever numbers there are."""
    keys = ("test_loss", "client_train_loss", "divergence_relative")
    records = [dict(zip(keys, row, strict=True)) for row in rows]
    last = data.draw(st.integers(0, len(records)))
    assert observe(records[:last]) == observe(records)[:last]


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=30), st.floats(0.1, 10))
def test_slow_convergence_apart_the_unit_of_a_loss_does_not_matter(losses, scale):
    """Powers of two, so that no rounding decides."""
    scale = 2.0 ** round(math.log2(scale))
    assert modes([scale * loss for loss in losses], slow_loss=0.0) == modes(losses, slow_loss=0.0)


def test_the_action_decides_on_whether_there_is_a_detector_and_whether_it_stops():
    def make(action):
        return FailureDetector.of(THRESHOLDS.model_copy(update={"action": action}), NUM_CLASSES)

    assert make("none") is None
    assert make("report").stops is False
    assert make("stop").stops is True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("action", "abort"),
        ("exploding_factor", 0.9),
        ("exploding_rises", 0),
        ("oscillation_window", 2),
        ("oscillation_share", 1.5),
        ("oscillation_amplitude", math.inf),
        ("drift", 0.0),
        ("slow_window", 0),
        ("slow_improvement", 1.0),
        ("slow_loss", -0.1),
        ("unknown", 1),
    ],
)
def test_thresholds_out_of_range_are_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        FailureThresholds.model_validate(THRESHOLDS.model_dump() | {key: value})
