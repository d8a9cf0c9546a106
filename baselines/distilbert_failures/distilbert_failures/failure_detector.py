"""When training fails, told from what was measured of the rounds so far.

The earlier study has a detector of divergence, oscillation, drift and slow convergence that its
runs never ask. This one asks the same questions, so that the answers mean something:

- An exploding loss is measured against that of the first round. The study takes five rises in a row
  to more than 1.1 times the loss before them, which overfitting does, too.
- Noise around a plateau turns at two places of three, for of three numbers in any order the middle
  one is the highest or the lowest in four orders of six. The study's share of 60 % is exceeded in
  most windows of mere noise; here the loss must also change by much.
- The study's drift of 0.5 is an l2 distance between models, proportional to their size and to the
  learning rate. Here it is relative to the weights, which takes away the first; the second stays,
  see :func:`common.strategy.drift.divergence`.
- A run that has converged improves no more. The study calls less than 1 % in 20 rounds slow,
  whatever the loss; here a run that came to a low loss once is not slow.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from common.experiment.config import PositiveFloat, PositiveInt, Probability
from common.experiment.result_files import finite
from common.experiment.watch import Failure

Mode = Literal["not_finite", "exploding_loss", "oscillation", "client_drift", "slow_convergence"]

# The losses that may explode, by what a sentence calls them; a run need not record the second.
_LOSSES: Final = {"test_loss": "test loss", "client_train_loss": "training loss of the clients"}


class FailureThresholds(BaseModel):
    """What counts as a failure, and what follows; windows and rises are in rounds.

    Attributes:
        action: "report" failures, "stop" after the first round that shows one, or "none": do not
            look for them.
        exploding_factor: A loss explodes above this many times that of round 1, if it also rises.
        exploding_rises: For how many rounds in a row it must have risen.
        oscillation_window: How many rounds' test losses are looked at.
        oscillation_share: Of the places in a window where the test loss could turn, which are two
            fewer than its rounds, it must turn at more than this share.
        oscillation_amplitude: The mean absolute change from round to round, as a share of the mean
            test loss of the window, must be more than this.
        drift: Clients drift apart where the mean distance of their models from their mean is more
            than this share of ||w_t||. A run that records no divergence_relative has none.
        slow_window: Convergence is slow if the lowest test loss of so many rounds is hardly below
            the lowest of all rounds before them.
        slow_improvement: By less than this share of it.
        slow_loss: But not if the test loss of any round was below this share of ln C, which is that
            of guessing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    action: Literal["report", "stop", "none"]
    exploding_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    exploding_rises: PositiveInt
    oscillation_window: Annotated[int, Field(ge=3)]
    oscillation_share: Probability
    oscillation_amplitude: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    drift: PositiveFloat
    slow_window: PositiveInt
    slow_improvement: Annotated[float, Field(ge=0, lt=1)]
    slow_loss: Probability


class FailureDetector:
    """Finds failures in the rounds of one run; see :class:`FailureThresholds` for their definition.

    What it finds depends on the records that it has seen and on nothing else. Where a loss is not
    finite, no change of it is judged.

    Args:
        thresholds: What counts as a failure.
        num_classes: Number of classes, C.
    """

    def __init__(self, thresholds: FailureThresholds, num_classes: int) -> None:
        self._thresholds = thresholds
        self._low_loss = thresholds.slow_loss * math.log(num_classes)
        # A loss that was not finite, or not recorded, is infinite.
        self._losses: dict[str, list[float]] = {key: [] for key in _LOSSES}

    @classmethod
    def of(cls, thresholds: FailureThresholds, num_classes: int) -> Self | None:
        """Return a detector, or None if no failures are to be looked for."""
        return None if thresholds.action == "none" else cls(thresholds, num_classes)

    @property
    def stops(self) -> bool:
        """Whether the first round that shows a failure is the last."""
        return self._thresholds.action == "stop"

    def observe(self, record: Mapping[str, Any]) -> list[Failure]:
        """Return the failures that a round shows.

        Args:
            record: The round's, as rounds.jsonl has it, of the round after the one last observed.
        """
        for key, losses in self._losses.items():
            loss = finite(record.get(key))
            losses.append(math.inf if loss is None else loss)
        reasons: dict[Mode, str] = {
            "not_finite": self._not_finite(),
            "exploding_loss": self._exploding_loss(),
            "oscillation": self._oscillation(),
            "client_drift": self._client_drift(record),
            "slow_convergence": self._slow_convergence(),
        }
        return [Failure(mode, reason) for mode, reason in reasons.items() if reason]

    def _not_finite(self) -> str:
        is_finite = math.isfinite(self._losses["test_loss"][-1])
        return "" if is_finite else "The test loss is not finite."

    def _exploding_loss(self) -> str:
        rises, factor = self._thresholds.exploding_rises, self._thresholds.exploding_factor
        for key, name in _LOSSES.items():
            first, last = self._losses[key][0], self._losses[key][-1]
            latest = self._losses[key][-rises - 1 :]
            has_risen = all(a < b for a, b in itertools.pairwise(latest)) and len(latest) > rises
            if has_risen and factor * first < last < math.inf:
                return (
                    f"The {name} is {last:.4g}, that of round 1 was {first:.4g}, and it has risen "
                    f"{rises} {_rounds(rises)} in a row."
                )
        return ""

    def _oscillation(self) -> str:
        window = self._thresholds.oscillation_window
        losses = self._losses["test_loss"][-window:]
        if len(losses) < window or not all(map(math.isfinite, losses)):
            return ""
        changes = [b - a for a, b in itertools.pairwise(losses)]
        num_turns = sum(a < 0 < b or b < 0 < a for a, b in itertools.pairwise(changes))
        change, loss = math.fsum(map(abs, changes)) / len(changes), math.fsum(losses) / window
        turns_often = num_turns > self._thresholds.oscillation_share * (window - 2)
        if turns_often and change > self._thresholds.oscillation_amplitude * loss:
            return (
                f"The test loss turned {num_turns} times in the last {window} rounds, and changed "
                f"by {change:.3g} a round at a mean of {loss:.4g}."
            )
        return ""

    def _client_drift(self, record: Mapping[str, Any]) -> str:
        divergence = finite(record.get("divergence_relative"))
        if divergence is None or divergence <= self._thresholds.drift:
            return ""
        return f"The clients' models are {divergence:.3g} ||w_t|| from their mean."

    def _slow_convergence(self) -> str:
        losses, window = self._losses["test_loss"], self._thresholds.slow_window
        if len(losses) <= window or min(losses) < self._low_loss:
            return ""
        before, lowest = min(losses[:-window]), min(losses[-window:])
        has_improved = lowest <= (1 - self._thresholds.slow_improvement) * before
        if has_improved or lowest == math.inf:
            return ""
        return (
            f"The lowest test loss of the last {window} {_rounds(window)} is {lowest:.4g}, that "
            f"of all before is {before:.4g}."
        )


def _rounds(number: int) -> str:
    return "round" if number == 1 else "rounds"
