import signal
import threading

import pytest
import ray

from common.engine.ray_start import connect


@pytest.fixture
def handler():
    """A program's own handler of SIGTERM."""

    def handle(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, handle)
    yield handle
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def starts(monkeypatch):
    """Pretend to start Ray, which sets a handler where it can; the list tells how often."""
    addresses = []

    def init(address, **options):
        addresses.append(address)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if address == "nowhere":
            raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    return addresses


@pytest.mark.parametrize("address", ["", "auto"])
def test_a_programs_handler_of_sigterm_stays(starts, handler, address):
    connect(address)
    assert len(starts) == 1
    assert signal.getsignal(signal.SIGTERM) is handler


def test_it_stays_also_if_there_is_no_ray(starts, handler):
    with pytest.raises(ValueError, match="nobody there"):
        connect("nowhere")
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_thread_that_may_set_no_handler_can_connect(starts, handler):
    thread = threading.Thread(target=connect, args=[""])
    thread.start()
    thread.join()
    assert len(starts) == 1
    assert signal.getsignal(signal.SIGTERM) is handler
