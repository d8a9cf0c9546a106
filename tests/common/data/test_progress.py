import io
import sys

import pytest

from common.data.progress import OnceProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_elsewhere_than_in_a_terminal_it_is_two_lines(capsys):
    with OnceProgress("decoding imagenet-validation", 50_000) as progress:
        for _ in range(500):
            progress.advance(100)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == "decoding imagenet-validation: 50,000 examples, once"
    assert second == "decoding imagenet-validation: done in 0 s"


def test_what_is_not_finished_is_not_said_to_be(capsys):
    def interrupted():
        with OnceProgress("decoding imagenet", 5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_in_a_terminal_it_is_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    with OnceProgress("decoding imagenet", 200) as progress:
        progress.advance(150)
        progress.advance(50)
    shown = terminal.getvalue()
    assert "decoding imagenet" in shown
    assert "200/200" in shown
    assert "100%" in shown
