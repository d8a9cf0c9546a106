"""The paper's heuristic for mu (Li et al. 2020, section 5.3.2, figures 3 and 11)."""

import math
import sys
from typing import Any, Final

from flwr.app import MetricRecord, RecordDict

STEP = 0.1
FALLS_BEFORE_DECREASE = 5
_RECORD: Final = "adaptive-mu"


class AdaptiveMu:
    """Raise mu by 0.1 when the global loss rises; lower it by 0.1 after 5 consecutive falls.

    mu never goes below 0. The paper starts at 1 for IID data and at 0 otherwise, the adverse
    choice in both cases.

    Args:
        mu: Where to start.
    """

    def __init__(self, mu: float) -> None:
        self.mu = mu
        self._last_loss: float | None = None
        self._falls = 0

    def update(self, train_loss: float) -> float:
        """Return the mu to use next, given the global training loss f(w) just measured.

        The first loss has none before it to compare with and changes nothing. A loss that is not
        a number counts as a rise, and a number after it as a fall.
        """
        if self._last_loss is not None:
            if train_loss < self._last_loss:
                self._falls += 1
            elif train_loss == self._last_loss:
                self._falls = 0
            else:
                self._falls = 0
                self.mu = round(self.mu + STEP, 10)  # 0.3, not 0.30000000000000004
            if self._falls == FALLS_BEFORE_DECREASE:
                self._falls = 0
                self.mu = max(0.0, round(self.mu - STEP, 10))
        self._last_loss = math.inf if math.isnan(train_loss) else train_loss
        return self.mu

    def state(self) -> RecordDict:
        """Return mu and what the next loss is compared with."""
        state = MetricRecord({"mu": self.mu, "falls": self._falls})
        if self._last_loss is not None:
            state["last-loss"] = self._last_loss
        return RecordDict({_RECORD: state})

    def restore(self, state: RecordDict) -> None:
        """Continue from what :meth:`state` returned.

        Raises:
            KeyError: Something is missing; nothing has changed then.
            ValueError: It returned something else; nothing has changed then.
        """
        values: dict[str, Any] = dict(state.metric_records[_RECORD])
        mu, falls, last_loss = values["mu"], values["falls"], values.get("last-loss")
        if not isinstance(mu, int | float) or not 0 <= mu <= sys.float_info.max:
            raise ValueError(f"mu is {mu!r:.50}")
        if type(falls) is not int or falls not in range(FALLS_BEFORE_DECREASE):
            raise ValueError(f"the number of falls is {falls!r:.50}")
        if last_loss is not None and not (
            isinstance(last_loss, int | float) and last_loss == last_loss  # Which NaN is not.
        ):
            raise ValueError(f"the last loss is {last_loss!r:.50}")
        self.mu, self._falls, self._last_loss = mu, falls, last_loss
