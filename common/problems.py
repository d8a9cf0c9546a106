"""What pydantic says is wrong with some values -> one sentence that says what is allowed."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from common.shown import shown, shown_key

# What pydantic says -> what follows "it must be".
_RULES: Final = {
    "a valid i": "an i",
    "a valid ": "a ",
    "List should have": "a list with",
    "String should have": "a text with",
    " after validation": "",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with one of several values; its text is one sentence.

    Attributes:
        kind: Pydantic's name for it, such as "missing" or "extra_forbidden".
        key: The value's place, dotted; empty for all values together.
        value: The value, in a message's length.
        rule: What it must be. A validator's own ValueError gives either that or, with a full stop,
            a whole sentence.
    """

    kind: str
    key: str
    value: str
    rule: str

    def __str__(self) -> str:
        if self.kind == "missing":
            return f"{self.key} is missing: it must be {self.rule}."
        if self.kind == "value_error" and self.rule.endswith("."):
            return self.rule
        return f"{self.key}={self.value} is not allowed: it must be {self.rule}."


def first_problem(error: ValidationError, tags: Container[str] = ()) -> Problem:
    """Return the first problem that pydantic found.

    Args:
        error: What it raised.
        tags: Of unions in the schema; pydantic names them among the keys.
    """
    problem = error.errors()[0]
    places = [str(place) for place in problem["loc"]]
    rule = problem["msg"].removeprefix("Input should be ")
    for pydantics, ours in _RULES.items():
        rule = rule.replace(pydantics, ours)
    if problem["type"] == "missing":
        rule = "given"
    elif problem["type"] == "value_error":
        rule = str(problem["ctx"]["error"])
    elif problem["type"] == "string_pattern_mismatch":
        rule = f"of the form {problem['ctx']['pattern']}"
    return Problem(
        kind=problem["type"],
        key=shown_key(".".join(place for place in places if place not in tags)),
        value=shown(problem["input"]),
        rule=rule,
    )
