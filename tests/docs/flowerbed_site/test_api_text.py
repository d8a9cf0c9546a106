"""Types as the API reference writes them."""

import pytest
from flowerbed_site.api_text import readable_types


@pytest.mark.parametrize(
    ("expanded", "written"),
    [
        ("ndarray[tuple[Any, ...], dtype[float32]]", "NDArray[float32]"),
        ("ndarray[tuple[Any, ...], dtype[integer[Any]]] | None", "NDArray[integer[Any]] | None"),
        (
            "list[~numpy.ndarray[tuple[~typing.Any, ...], ~numpy.dtype[~numpy.int64]]]",
            "list[NDArray[~numpy.int64]]",
        ),
        ("(mu: Annotated[float, Ge(ge=0)], x: int)", "(mu: float, x: int)"),
        ("Annotated[list[Annotated[int, Gt(gt=0)]], Len(2, 2)]", "list[int]"),
        ("(x: int) -> dict[str, int]", "(x: int) -> dict[str, int]"),
    ],
)
def test_a_type_is_written_as_in_the_source(expanded, written):
    assert readable_types(expanded) == written


def test_a_bracket_without_an_end_is_refused():
    with pytest.raises(ValueError, match="does not end"):
        readable_types("Annotated[int")
