from typing import Annotated, Literal

import pytest
from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from common.problems import first_problem


def refuse(value):
    if value == "bad":
        raise ValueError("a good text")
    return value


class Circle(BaseModel, extra="forbid", strict=True):
    radius: float


class Square(BaseModel, extra="forbid", strict=True):
    side: float


class Values(BaseModel, extra="forbid", strict=True):
    whole: int = 0
    number: Annotated[float, Field(gt=0)] = 1.0
    kind: Literal["a", "b"] = "a"
    name: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    text: Annotated[str, Field(min_length=2), BeforeValidator(refuse)] = "text"
    pair: Annotated[list[int], Field(max_length=2)] = []
    circle: Circle = Circle(radius=1)
    shape: Annotated[
        Annotated[Circle, Tag("(circle)")] | Annotated[Square, Tag("(square)")],
        Discriminator(lambda value: "(square)" if "side" in value else "(circle)"),
    ] = Circle(radius=1)

    @model_validator(mode="after")
    def _fits(self):
        if self.whole > self.number:
            raise ValueError("whole is not allowed: it must be at most number.")
        return self


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"whole": "1"}, "whole='1' is not allowed: it must be an integer."),
        ({"number": [1]}, "number=[1] is not allowed: it must be a number."),
        ({"number": -1}, "number=-1 is not allowed: it must be greater than 0."),
        ({"kind": "c"}, "kind='c' is not allowed: it must be 'a' or 'b'."),
        ({"name": "A"}, "name='A' is not allowed: it must be of the form ^[a-z]+$."),
        ({"text": "a"}, "text='a' is not allowed: it must be a text with at least 2 characters."),
        ({"text": "bad"}, "text='bad' is not allowed: it must be a good text."),
        (
            {"pair": [1, 2, 3]},
            "pair=[1, 2, 3] is not allowed: it must be a list with at most 2 items, not 3.",
        ),
        ({"pair": [1, "2"]}, "pair.1='2' is not allowed: it must be an integer."),
        ({"circle": {}}, "circle.radius is missing: it must be given."),
        ({"whole": 3}, "whole is not allowed: it must be at most number."),
        ({"shape": {"side": "x"}}, "shape.side='x' is not allowed: it must be a number."),
    ],
)
def test_the_first_problem_is_one_sentence(values, sentence):
    with pytest.raises(ValidationError) as caught:
        Values.model_validate(values)
    assert str(first_problem(caught.value, tags=("(circle)", "(square)"))) == sentence


def test_a_long_value_is_cut():
    with pytest.raises(ValidationError) as caught:
        Values.model_validate({"whole": "\ud800" * 999})
    assert len(str(first_problem(caught.value)).encode()) < 400


def test_an_unknown_key_is_told_as_such():
    with pytest.raises(ValidationError) as caught:
        Values.model_validate({"circle": {"radius": 1.0, "(circle)": 2}})
    problem = first_problem(caught.value)
    assert (problem.kind, problem.key, problem.value) == ("extra_forbidden", "circle.(circle)", "2")


def test_all_values_together_have_no_key():
    with pytest.raises(ValidationError) as caught:
        Values.model_validate(3)
    assert first_problem(caught.value).key == ""
