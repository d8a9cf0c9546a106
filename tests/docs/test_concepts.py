"""The code of the pages of prose: run block after block, it prints what the page says it does."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
# A block of Python, and what it prints, if the page says so.
_BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\s*^```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
# What a run tells beside what the page prints.
_OF_A_RUN = re.compile(r"(round \d+/|Results are in |Incomplete; to go on: |Going on after round )")


def blocks(page):
    return [(code, printed or "") for code, printed in _BLOCK.findall(page.read_text())]


def run_block(code, names):
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


def without_progress(printed):
    return "".join(line for line in printed.splitlines(True) if not _OF_A_RUN.match(line))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["concepts", "bandwidth"])
def test_the_code_of_a_page_prints_what_stands_below_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    page = blocks(DOCS / f"{name}.md")
    assert len(page) > 2
    names = {}
    for code, said in page:
        assert without_progress(run_block(code, names)) == said, code
