import pytest

from common.analysis.generated_parts import fill_parts, replace_part
from common.errors import UserInputError

PAGE = """# Title
<!-- begin: one -->
old
<!-- end: one -->
between
<!-- begin: two -->
<!-- end: two -->
end
"""
FILLED = """# Title
<!-- begin: one -->

first

<!-- end: one -->
between
<!-- begin: two -->

second

<!-- end: two -->
end
"""


def test_parts_are_filled_and_nothing_else_is_touched():
    parts = {"one": "first", "two": "second", "three": "not on this page"}
    assert fill_parts(PAGE, parts) == FILLED
    assert fill_parts(FILLED, parts) == FILLED


def test_a_page_without_parts_stays():
    assert fill_parts("# Title\n", {"one": "first"}) == "# Title\n"


def test_a_part_is_taken_as_it_is():
    part = "\\1 \\g<0> \\n {braces} % 'µ'\n\nanother paragraph"
    assert f"\n\n{part}\n\n" in fill_parts(PAGE, {"one": part, "two": ""})


@pytest.mark.parametrize("name", ["figure-1", "μ_grid.mnist", "a|b(*)", "--"])
def test_a_name_is_anything_without_spaces(name):
    page = f"<!-- begin: {name} -->\n<!-- end: {name} -->\n"
    expected = f"<!-- begin: {name} -->\n\ntext\n\n<!-- end: {name} -->\n"
    assert fill_parts(page, {name: "text"}) == expected


def test_a_part_that_nobody_wrote_is_refused():
    with pytest.raises(UserInputError) as caught:
        fill_parts(PAGE, {"one": "first", "three": "third"})
    assert str(caught.value) == (
        "the part 'two' of the page is not allowed: it must be one of one, three."
    )
    with pytest.raises(UserInputError, match=r"it must be one of none\.$"):
        fill_parts(PAGE, {})


@pytest.mark.parametrize(
    "page",
    [
        "no markers",
        "<!-- begin: one -->\n",
        "<!-- end: one -->\n<!-- begin: one -->\n",
        PAGE + PAGE,
    ],
)
def test_markers_that_are_not_there_once_are_refused(page):
    with pytest.raises(UserInputError, match="the markers of 'one' once"):
        replace_part(page, "one", "first")


def test_a_begin_without_its_end_is_refused():
    with pytest.raises(UserInputError, match="the markers of 'one' once"):
        fill_parts("<!-- begin: one -->\nold\n<!-- end: two -->\n", {"one": "first"})
