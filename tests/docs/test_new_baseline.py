"""The tutorial docs/new_baseline.md, done from top to bottom in a copy of the repository."""

import json
import os
import re
import subprocess
from typing import NamedTuple

import numpy as np
import pytest
from repository_copy import REPOSITORY, copy_repository, run

PAGE = REPOSITORY / "docs" / "new_baseline.md"
# A block of fenced code; if it is a file, the file's name stands alone in the line above.
_BLOCK = re.compile(
    r"(?:^`(?P<file>[^`\n]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
# Of an SVG's parts: made of its coordinates.
_ID = re.compile(r"(?<=[#\"])[a-z]+[0-9a-f]{10}(?=[\")])")
# Of an SVG's coordinates; not the digits of names and colours.
_NUMBER = re.compile(r"(?<![\w#.])-?\d+\.\d+")
# What differs each time: how long pytest took, and how long a run is going to take.
_TIME = re.compile(r" in \d+\.\d+s(?: \([\d:]+\))?$|  \d[\w ]* left$")
# Commands that take long, and whose work others do: test_site.py builds the site, and
# tests/common/scaffold runs the tests that come with a baseline.
ELSEWHERE = {
    "make docs",
    "make lint types test",
    "python -m pytest -m slow tests/baselines/fednova",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Block(NamedTuple):
    """A block of fenced code, and the file that it is; "" if it is none."""

    kind: str
    file: str
    text: str

    @property
    def commands(self):
        return re.findall(r"^\$ (.*)$", self.text, re.MULTILINE) if self.kind == "console" else []

    @property
    def output(self):
        """The lines that stand below the commands."""
        lines = self.text.splitlines() if self.kind == "console" else []
        return [line for line in lines if not line.startswith("$ ")]


class Done(NamedTuple):
    block: Block
    printed: str


def blocks():
    found = _BLOCK.finditer(PAGE.read_text(encoding="utf-8"))
    return [Block(block["kind"], block["file"] or "", block["text"]) for block in found]


def do(block, copy):
    """Do what a block says; returns what its commands printed."""
    if block.file:
        (copy / block.file).write_text(block.text, encoding="utf-8")
    elif block.kind == "diff":
        # Should the copy be within a repository of git's, that is not the one to change.
        alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(copy.parent)}
        patch = ["git", "apply", "-"]
        subprocess.run(patch, cwd=copy, env=alone, input=block.text, text=True, check=True)
    return "".join(run(command, copy) for command in block.commands if command not in ELSEWHERE)


class Followed(NamedTuple):
    """A copy of the repository in which the tutorial was followed, and what that printed."""

    copy: object
    done: list[Done]


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    copy = tmp_path_factory.mktemp("tutorial")
    copy_repository(copy)
    return Followed(copy, [Done(block, do(block, copy)) for block in blocks()])


def test_every_block_says_what_it_is():
    """What is neither a file nor commands nor differences would be read, but not tested."""
    assert {block.kind for block in blocks() if not block.file} == {"console", "diff"}
    commands = {command for block in blocks() for command in block.commands}
    assert commands > ELSEWHERE


def test_commands_print_what_stands_below_them(followed):
    for block, printed in followed.done:
        # Of an iterator, so that each is found below the one before.
        lines = (_TIME.sub("", line.strip()) for line in printed.splitlines())
        missing = [line for line in block.output if line.strip() not in lines]
        assert missing == [], f"{block.commands} printed\n{printed}"


def test_the_figure_is_the_one_of_the_page(followed):
    """The same letters and nearly the same curves: machines may differ in the last digits."""
    drawn, shown = (
        file.read_text(encoding="utf-8")
        for file in (
            followed.copy / "multirun" / "first" / "first.svg",
            PAGE.parent / "new_baseline" / "first.svg",
        )
    )
    remedy = "copy multirun/first/first.svg of a reader's to docs/new_baseline"
    letters, expected = (_NUMBER.sub("", _ID.sub("", text)) for text in (drawn, shown))
    assert letters == expected, remedy
    ours, theirs = (np.array(_NUMBER.findall(text), dtype=np.float64) for text in (drawn, shown))
    np.testing.assert_allclose(ours, theirs, atol=0.5, err_msg=remedy)


def test_both_arms_ran_with_five_seeds_each(followed):
    runs = [*(followed.copy / "multirun" / "first").glob("*/summary.json")]
    assert len(runs) == 10


def test_the_claim_is_judged_by_an_interval(followed):
    file = followed.copy / "baselines" / "fednova" / "results" / "claims.json"
    (claim,) = json.loads(file.read_text())
    assert claim["verdict"] == "reproduced"
    assert claim["low"] < claim["value"] < claim["high"] < 0


def test_the_page_of_the_method_is_filled(followed):
    page = (followed.copy / "docs" / "fednova.md").read_text()
    assert "(../baselines/fednova/results/first.png)" in page
    assert "| FedNova " in page
    assert "Of 1 claim: 1 reproduced." in page


def test_the_code_of_the_tutorial_is_as_this_repository_wants_it(followed):
    folders = "baselines/fednova tests/baselines/fednova"
    run(f"python -m ruff check {folders}", followed.copy)
    run(f"python -m ruff format --check {folders}", followed.copy)
    run("python -m mypy -p fednova", followed.copy)
