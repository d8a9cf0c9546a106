"""What others claim: the schema of a baseline's claims.yaml.

Each claim says how a number is computed from stored runs, seed by seed, and by which rule that
number is judged. No verdict is written by hand: see :mod:`common.analysis.verdicts`.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from common.analysis.quantities import TAGS, Number, Quantity, Strict
from common.errors import UserInputError
from common.problems import first_problem
from common.shown import shown

# What pydantic calls a dictionary that is none.
_NO_TABLE: Final = ("dict_type", "model_type")


class Rule(Strict):
    """Where a quantity must be for its claim to be reproduced: exactly one of five.

    Attributes:
        above: Above this.
        below: Below this.
        within: No further than this from the claim's reference.
        between: From the first to the second.
        among_seeds: The reference is from the lowest to the highest seed. For a reference that is
            of one run, which is no mean, and so need not lie in the interval of ours.
    """

    above: Number | None = None
    below: Number | None = None
    within: Annotated[Number, Field(ge=0)] | None = None
    between: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    among_seeds: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = sorted(self.model_fields_set)
        if len(given) != 1 or getattr(self, given[0]) is None:
            raise ValueError(
                f"rule with {', '.join(given) or 'nothing'} is not allowed: it must have exactly "
                "one of above, below, within, between and among_seeds, with its value."
            )
        if self.between and self.between[0] > self.between[1]:
            raise ValueError(
                f"between={self.between} is not allowed: it must be the lower number, then the "
                "higher."
            )
        return self

    @property
    def needs_reference(self) -> bool:
        """Whether the claim must have a reference."""
        return self.within is not None or self.among_seeds is not None

    def bounds(self, reference: float | None) -> tuple[float, float]:
        """Return the lowest and the highest value that reproduces a claim."""
        if self.within is not None and reference is not None:
            return reference - self.within, reference + self.within
        if self.between is not None:
            return self.between[0], self.between[1]
        low = -math.inf if self.above is None else self.above
        return low, math.inf if self.below is None else self.below


class Claim(Strict):
    """What somebody claims, and how it is tested.

    Attributes:
        id: Name of the claim, in kebab-case.
        source: Who says it, and where.
        statement: What is said.
        quantity: A number for every seed, from stored runs.
        reference: What the source says the number is, in the same unit as the runs: 0.22, not 22.
        rule: When the claim is reproduced.
        unit: What the number is shown in; % and points show 0.22 as 22.
        remark: What was wrong with the claim, or differs here.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    source: Annotated[str, Field(min_length=1)]
    statement: Annotated[str, Field(min_length=1)]
    quantity: Quantity
    reference: Number | None = None
    rule: Rule
    unit: Literal["", "%", "points", "rounds", "nats"] = ""
    remark: str = ""

    @model_validator(mode="after")
    def _rule_has_its_reference(self) -> Self:
        if self.rule.needs_reference and self.reference is None:
            (name,) = self.rule.model_fields_set
            raise ValueError(
                f"rule.{name}={getattr(self.rule, name)} is not allowed without reference: it must "
                "be given with the number to compare with."
            )
        return self

    @property
    def experiments(self) -> list[str]:
        """The experiments whose results are needed, in order."""
        return list(dict.fromkeys(contrast.experiment for contrast in self.quantity.contrasts))


def load_claims(path: Path) -> list[Claim]:
    """Read a claims.yaml.

    Returns:
        Its claims, in their order.

    Raises:
        UserInputError: It cannot be read, or a claim is not one, or two have the same id.
    """
    try:
        items = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(items, list) or not items:
            raise TypeError
    except Exception as error:  # PyYAML raises half a dozen types beside its own.
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserInputError(
            f"{str(path)!r} is not allowed: it must be a YAML list of at least one claim "
            f"({reason})."
        ) from None
    claims = [_parse(item, number) for number, item in enumerate(items, 1)]
    ids = [claim.id for claim in claims]
    for claim_id in ids:
        if ids.count(claim_id) > 1:
            raise UserInputError(
                f"claim {claim_id!r}: id={claim_id!r} is not allowed twice: it must be unique."
            )
    return claims


def _parse(item: object, number: int) -> Claim:
    claim_id = item.get("id") if isinstance(item, dict) else None
    name = f"claim {shown(claim_id)}" if isinstance(claim_id, str) else f"claim number {number}"
    try:
        return Claim.model_validate(item)
    except ValidationError as error:
        raise UserInputError(f"{name}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """Say the first problem of a claim in one sentence."""
    problem = first_problem(error, TAGS)
    if problem.kind == "extra_forbidden":
        return f"{problem.key} is not a key of a claim: it must be left out."
    rule = "a table" if problem.kind in _NO_TABLE else problem.rule
    return str(replace(problem, key=problem.key or "claim", rule=rule))
