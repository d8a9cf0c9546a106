"""Every test that docs/faults.md names is there."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "faults.md"
NAMED = re.findall(r"\[`(test_\w+)`\]\((\S+)\)", PAGE.read_text())


def test_the_page_names_tests():
    assert len(NAMED) > 40


@pytest.mark.parametrize(("name", "file"), NAMED)
def test_a_test_of_the_page_is_there(name, file):
    assert f"\ndef {name}(" in (PAGE.parent / file).read_text()


def test_the_soak_was_run():
    assert "resident memory of the server" in PAGE.read_text()


def test_a_row_without_a_test_says_how_it_was_tried():
    table = PAGE.read_text().partition("## The table")[2].partition("## Soak")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")]
    faults = [row for row in rows if len(row) == 3 and row[1].strip()][2:]
    without = [row for row in faults if "test_" not in row[2]]
    assert all(row[2].strip().startswith("by hand: ") for row in without)
