import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager

import pytest

from common.experiment.interruption import Interruption, interruptible, interruption_code

# SIGINT is set first: whoever started the tests in the background had it ignored.
CODE = """
    import os, select, signal, sys
    from common.experiment.interruption import interruptible, interruption_code

    ignored = sys.argv[1] == "ignored"
    signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)

    def wait_for_key():
        # A signal just before a call that blocks would be seen only after it: so none blocks long.
        while not select.select([0], [], [], 0.02)[0]:
            pass
        os.read(0, 1)

    def work():
        try:
            print("ready", flush=True)
            wait_for_key()
        finally:
            print("cleaning", flush=True)
            wait_for_key()
            print("clean", flush=True)

    with interruptible():
        try:
            work()
        except KeyboardInterrupt as interruption:
            sys.exit(interruption_code(interruption))
"""


@contextmanager
def program(sigint="default"):
    """A program that waits for a key, and once more when it cleans up."""
    command = [sys.executable, "-c", textwrap.dedent(CODE), sigint]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def finish(process, key=""):
    """Press a key, or none, and return the exit code and what was still said."""
    out, err = process.communicate(key, timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_program_when_it_has_cleaned_up(number, code):
    with program() as process:
        process.send_signal(number)
        assert process.stdout.readline() == "cleaning\n"
        assert finish(process, "x") == (code, "clean\n", "")


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGINT, signal.SIGTERM, 143),
        (signal.SIGTERM, signal.SIGINT, 130),
    ],
)
def test_a_second_signal_ends_it_at_once(first, second, code):
    with program() as process:
        process.send_signal(first)
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(second)
        assert process.wait(60) == code
        assert finish(process) == (code, "", "Interrupted again: ending at once.\n")


def test_a_program_that_ignores_ctrl_c_goes_on_ignoring_it():
    with program("ignored") as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "cleaning\n"
        assert finish(process, "x") == (143, "clean\n", "")


def test_a_program_that_nobody_interrupts_ends_well():
    with program() as process:
        assert finish(process, "xx") == (0, "cleaning\nclean\n", "")


def test_the_exit_code_is_that_of_the_signal():
    assert interruption_code(Interruption(signal.SIGTERM)) == 143
    assert interruption_code(Interruption(signal.SIGINT)) == 130
    assert interruption_code(KeyboardInterrupt()) == 130


@pytest.fixture
def handlers():
    """Two handlers of our own, which ignore nothing, for the time of a test."""
    before = [signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)]
    ours = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield ours
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


def current():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_afterwards_signals_do_what_they_did_before(handlers):
    with interruptible():
        assert current() != handlers
    assert current() == handlers
    with pytest.raises(ZeroDivisionError), interruptible():
        raise ZeroDivisionError
    assert current() == handlers


def test_after_an_interruption_a_second_one_is_still_taken_care_of(handlers):
    with pytest.raises(Interruption) as caught, interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.number == signal.SIGTERM
    assert all(now is not before for now, before in zip(current(), handlers, strict=True))


def test_a_thread_leaves_the_signals_alone(handlers):
    found = []

    def run():
        with interruptible():
            found.extend(current())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == handlers
