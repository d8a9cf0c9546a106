"""A number for every seed from stored runs: what a claim is about.

Arms meet seed by seed. Where they have different seeds, the seeds that all have count, for only
there does cancel what arms have in common.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, Literal, Self, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from common.analysis import statistics
from common.analysis.results import Results
from common.analysis.statistics import Curve
from common.errors import UserInputError
from common.experiment.config import PositiveInt, Scalar
from common.shown import shown

# One number for every seed, in the order of seeds, which are the index.
BySeed: TypeAlias = "pd.Series[float]"

# Statistics that need a curve and nothing else.
_OF_CURVE: Final[dict[str, Callable[[Curve], float]]] = {
    "tail_mean": statistics.tail_mean,
    "best": statistics.best,
    "last": statistics.last,
    "fluctuation": statistics.fluctuation,
}


def _require_scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("a text, a number or a truth value")
    return value


Number = Annotated[float, Field(allow_inf_nan=False)]
Experiment = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Arm = dict[str, Annotated[Scalar, BeforeValidator(_require_scalar)]]


class Strict(BaseModel):
    """Part of a claim: it has these keys and no other."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Contrast(Strict):
    """An arm, or what it has more than another of the same experiment.

    Attributes:
        experiment: Its name.
        arm: The keys that tell the arm's runs from the experiment's others.
        minus: The same of the other arm.
        rounds: The arm's first rounds, which alone count; None for all.
        minus_rounds: The same of the other arm, where arms are compared that make as many steps in
            other numbers of rounds.
    """

    experiment: Experiment
    arm: Arm
    minus: Arm | None = None
    rounds: PositiveInt | None = None
    minus_rounds: PositiveInt | None = None

    @model_validator(mode="after")
    def _minus_rounds_have_their_arm(self) -> Self:
        if self.minus_rounds is not None and self.minus is None:
            raise ValueError(
                f"minus_rounds={self.minus_rounds} is not allowed without minus: it must be that "
                "of the other arm."
            )
        return self


class Difference(Contrast):
    """What an arm has more than another of the same experiment.

    Attributes:
        minus: The keys of the other arm.
    """

    minus: Arm


class Contrasts(Strict):
    """A statistic of learning curves, seed by seed the mean over some arms or differences.

    Attributes:
        statistic: See :mod:`common.analysis.statistics`.
        metric: Number of a round.
        target: Of ``rounds_to_target``.
        tail: Of ``tail_mean``, the last rounds that it is the mean of; ten where it is None.
        relative: What an arm has more is a share of what the other has.
        contrasts: What to average.
    """

    statistic: Literal[
        "tail_mean", "at_convergence", "rounds_to_target", "best", "last", "fluctuation"
    ]
    metric: str
    target: Number | None = None
    tail: PositiveInt | None = None
    relative: bool = False
    contrasts: Annotated[list[Contrast], Field(min_length=1)]

    @model_validator(mode="after")
    def _target_fits_statistic(self) -> Self:
        if (self.statistic == "rounds_to_target") != (self.target is not None):
            raise ValueError(
                f"target={self.target} is not allowed with statistic={self.statistic!r}: it must "
                "be a number with rounds_to_target, and not given with others."
            )
        return self

    @model_validator(mode="after")
    def _tail_fits_statistic(self) -> Self:
        if self.tail is not None and self.statistic != "tail_mean":
            raise ValueError(
                f"tail={self.tail} is not allowed with statistic={self.statistic!r}: it must be "
                "that of tail_mean, and not given with others."
            )
        return self

    @model_validator(mode="after")
    def _shares_are_of_something(self) -> Self:
        if self.relative and any(contrast.minus is None for contrast in self.contrasts):
            raise ValueError(
                "relative=True is not allowed with a contrast that has no minus: it must have the "
                "arm that the difference is a share of."
            )
        return self

    @model_validator(mode="after")
    def _best_is_highest(self) -> Self:
        _require_more_is_better(self.statistic, [self.metric])
        return self

    def by_seed(self, results: Mapping[str, Results]) -> NDArray[np.float64]:
        """Return the quantity for every seed that all arms have, shape [seeds].

        Args:
            results: Those of every experiment, by its name.

        Raises:
            UserInputError: There is no such arm or metric, or arms have no seed in common.
        """
        return _mean(
            [
                _difference(contrast, results, self._of_arm, self.relative)
                for contrast in self.contrasts
            ]
        )

    def _of_arm(self, arm: Results, rounds: int | None) -> BySeed:
        curves = _first_rounds(_curves(arm, self.metric), rounds)
        if self.target is not None:
            values = [statistics.rounds_to_target(curve, self.target) for curve in curves]
        elif self.tail is not None:
            values = [statistics.tail_mean(curve, self.tail) for curve in curves]
        else:
            return _statistic(arm, curves, self.statistic)
        return pd.Series(values, index=arm.seeds)


class Agreement(Strict):
    """How often two metrics say the same of a difference.

    Seed by seed it is the fraction of differences that have the same sign by both metrics, zero
    being a sign of its own; NaN if one has none.

    Attributes:
        agree: The two metrics.
        statistic: See :mod:`common.analysis.statistics`.
        contrasts: The differences.
    """

    agree: Annotated[list[str], Field(min_length=2, max_length=2)]
    statistic: Literal["tail_mean", "at_convergence", "best", "last", "fluctuation"]
    contrasts: Annotated[list[Difference], Field(min_length=1)]

    @model_validator(mode="after")
    def _best_is_highest(self) -> Self:
        _require_more_is_better(self.statistic, self.agree)
        return self

    def by_seed(self, results: Mapping[str, Results]) -> NDArray[np.float64]:
        """Return the fraction for every seed that all arms have, shape [seeds].

        Args:
            results: Those of every experiment, by its name.

        Raises:
            UserInputError: There is no such arm or metric, or arms have no seed in common.
        """
        return _mean([self._same_sign(contrast, results) for contrast in self.contrasts])

    def _same_sign(self, contrast: Difference, results: Mapping[str, Results]) -> BySeed:
        """Return 1 for a seed whose differences have the same sign, 0 if not, NaN if one is NaN."""

        def difference(metric: str) -> BySeed:
            return _difference(
                contrast,
                results,
                lambda arm, rounds: _statistic(
                    arm, _first_rounds(_curves(arm, metric), rounds), self.statistic
                ),
            )

        first, second = map(difference, self.agree)
        same: BySeed = (np.sign(first) == np.sign(second)).astype(float)
        return same.mask(first.isna() | second.isna(), np.nan)


def _kind_of_quantity(value: object) -> str:
    return AGREEMENT if isinstance(value, Mapping) and "agree" in value else CONTRASTS


# Pydantic names these among the keys of a problem: parentheses tell them from keys.
CONTRASTS, AGREEMENT = TAGS = ("(contrasts)", "(agreement)")
Quantity = Annotated[
    Annotated[Contrasts, Tag(CONTRASTS)] | Annotated[Agreement, Tag(AGREEMENT)],
    Discriminator(_kind_of_quantity),
]


def _require_more_is_better(statistic: str, metrics: Sequence[str]) -> None:
    for metric in metrics:
        if statistic in ("rounds_to_target", "best") and metric.endswith("loss"):
            raise ValueError(
                f"metric={shown(metric)} is not allowed with statistic={statistic!r}: it must be "
                "one of which more is better."
            )


def _difference(
    contrast: Contrast,
    results: Mapping[str, Results],
    of_arm: Callable[[Results, int | None], BySeed],
    relative: bool = False,
) -> BySeed:
    experiment = results[contrast.experiment]
    first = of_arm(experiment.arm(contrast.arm), contrast.rounds)
    if contrast.minus is None:
        return first
    second = of_arm(experiment.arm(contrast.minus), contrast.minus_rounds)
    pair = _paired([first, second])
    difference: BySeed = pair[0] - pair[1]
    return difference / pair[1] if relative else difference


def _statistic(arm: Results, curves: NDArray[np.float64], name: str) -> BySeed:
    """Return a statistic of curves that needs no more than these and the training loss."""
    if name == "at_convergence":
        losses = _curves(arm, "train_loss")[:, : curves.shape[1]]
        pairs = zip(curves, losses, strict=True)
        values = [statistics.at_convergence(curve, loss) for curve, loss in pairs]
    else:
        values = [_OF_CURVE[name](curve) for curve in curves]
    return pd.Series(values, index=arm.seeds)


def _curves(arm: Results, metric: str) -> NDArray[np.float64]:
    """Return an arm's curves, shape [seeds, rounds]; refuse those that were not recorded."""
    curves = arm.curves(metric)
    unknown = np.isnan(curves).all(axis=1)
    if unknown.any():
        # A verdict on it would be one on what was not measured.
        raise UserInputError(
            f"metric={metric!r} of seed {arm.seeds[int(np.argmax(unknown))]} is not allowed: it "
            "must have a number in at least one round."
        )
    return curves


def _first_rounds(curves: NDArray[np.float64], rounds: int | None) -> NDArray[np.float64]:
    """Return the first rounds of curves, shape [seeds, rounds]; all of them if that is None."""
    if rounds is not None and rounds > curves.shape[1]:
        raise UserInputError(
            f"rounds={rounds} is not allowed: it must be at most {curves.shape[1]}, the rounds of "
            "the arm."
        )
    return curves[:, :rounds]


def _mean(arms: Sequence[BySeed]) -> NDArray[np.float64]:
    """Return the mean over arms, shape [seeds]; NaN if one is."""
    mean: NDArray[np.float64] = _paired(arms).to_numpy(dtype=np.float64).mean(axis=1)
    return mean


def _paired(arms: Sequence[BySeed]) -> pd.DataFrame:
    """Return the values of several arms: a row for every seed that all have, a column an arm."""
    paired = pd.concat(arms, axis=1, join="inner", keys=range(len(arms))).sort_index()
    if paired.empty:
        seeds = " and ".join(dict.fromkeys(shown(arm.index.tolist()) for arm in arms))
        raise UserInputError(
            f"arms of seeds {seeds} are not allowed together: they must have a seed in common."
        )
    return paired
