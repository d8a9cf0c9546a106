import os
import pty
import re
import threading
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.experiment import progress
from common.experiment.progress import Progress

LINE = re.compile(r"round (\d+)/(\d+)  accuracy (\d\.\d{4})  loss (\d+\.\d{4})  (\d+) s left")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    clock = SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def run(capsys, clock):
    """Returns the lines of a run whose rounds take so many seconds each."""

    def run(num_rounds, seconds=0.0):
        with Progress(num_rounds) as shown:
            for round in range(1, num_rounds + 1):
                clock.now += seconds
                shown.round_finished(round, round / num_rounds, 10 / round)
        return [LINE.fullmatch(line).groups() for line in capsys.readouterr().out.splitlines()]

    return run


def test_plain_line_by_hand(capsys, clock):
    with Progress(4) as shown:
        clock.now += 6
        shown.round_finished(1, 0.12345, 2.30259)
        clock.now += 2
        shown.round_finished(2, 0.5, 1)
    assert capsys.readouterr().out == (
        "round 1/4  accuracy 0.1235  loss 2.3026  18 s left\n"
        "round 2/4  accuracy 0.5000  loss 1.0000  4 s left\n"
    )


def test_a_run_that_goes_on_counts_the_time_of_its_own_rounds(capsys, clock):
    with Progress(10, last_round=6) as shown:
        clock.now += 30  # The workers start.
        shown.round_finished(7, 0.5, 1)
        clock.now += 2
        shown.round_finished(8, 0.5, 1)
    assert capsys.readouterr().out == (
        "round 7/10  accuracy 0.5000  loss 1.0000  90 s left\n"
        "round 8/10  accuracy 0.5000  loss 1.0000  4 s left\n"
    )


def test_a_run_that_goes_on_after_its_last_round_shows_nothing(capsys, clock):
    with Progress(10, last_round=10):
        pass
    assert capsys.readouterr().out == ""


def test_a_hundred_rounds_are_ten_lines(run):
    assert [line[0] for line in run(100)] == [str(round) for round in range(10, 101, 10)]


# No capsys and clock here, which a property test would share among its examples.
@given(st.integers(1, 3_000))
def test_some_ten_lines_and_always_the_last_round(num_rounds):
    shown = Progress(num_rounds)
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda line, **_: lines.append(line))
        for round in range(1, num_rounds + 1):
            shown.round_finished(round, 0.5, 1.0)
    assert min(num_rounds, 10) <= len(lines) <= 20
    assert LINE.fullmatch(lines[-1])[1] == str(num_rounds)


def test_slow_rounds_are_a_line_every_half_minute(run):
    # Rounds of 11 s: 33 s after the start, and 33 s after each line.
    assert [int(line[0]) for line in run(1_000, 11)][:4] == [3, 6, 9, 12]


def test_time_left_falls_steadily_to_none(run):
    assert [int(line[4]) for line in run(10, 7)] == [63, 56, 49, 42, 35, 28, 21, 14, 7, 0]


def test_no_control_characters_when_not_in_a_terminal(capsys):
    with Progress(1) as shown:
        shown.round_finished(1, 0.5, 1.0)
    assert LINE.fullmatch(capsys.readouterr().out.rstrip("\n"))


@contextmanager
def terminal():
    """Make stdout a terminal, and yield the pieces of what it has shown, all there at the end."""
    ours, theirs = pty.openpty()
    shown = []

    def read():
        try:
            while chunk := os.read(ours, 4096):
                shown.append(chunk.decode())
        except OSError:  # Linux says so when the other end is closed.
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with pytest.MonkeyPatch.context() as patch, os.fdopen(theirs, "w") as stdout:
            patch.setenv("TERM", "xterm")
            patch.setattr("sys.stdout", stdout)
            yield shown
    finally:
        reader.join()
        os.close(ours)


def test_bar_in_a_terminal():
    with terminal() as shown, Progress(7) as bar:
        bar.round_finished(1, 0.25, 2.0)
        bar.round_finished(2, 0.5, 1.25)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", "".join(shown))
    assert re.search("round 2 ━+.*2/7  accuracy 0.5000  loss 1.2500", text)
    assert not LINE.search(text)


def test_bar_of_a_run_that_goes_on_starts_where_that_was():
    with terminal() as shown, Progress(7, last_round=3) as bar:
        bar.round_finished(4, 0.5, 1.25)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", "".join(shown))
    assert re.search("round 3 .*3/7", text)
    assert re.search("round 4 ━+.*4/7  accuracy 0.5000  loss 1.2500", text)


def test_bar_is_put_away_after_an_error():
    with suppress(ZeroDivisionError), terminal() as shown, Progress(7) as bar:
        bar.round_finished(1, 0.25, 2.0)
        raise ZeroDivisionError
    hide_cursor, show_cursor = "\x1b[?25l", "\x1b[?25h"
    text = "".join(shown)
    assert hide_cursor in text
    assert text.rindex(show_cursor) > text.rindex(hide_cursor)
