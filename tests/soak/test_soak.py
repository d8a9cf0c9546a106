"""What a long run must not do, seen on a short one; `make soak` has the long one."""

import pytest
from soak import run_soak

NUM_ROUNDS = 400
EARLY, LATE = range(100, 200), range(300, 401)
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def soak(tmp_path_factory):
    return run_soak(NUM_ROUNDS, tmp_path_factory.mktemp("soak") / "run", "num_epochs=2")


@pytest.mark.parametrize("process", [0, 1, 2], ids=["server", "worker", "other worker"])
def test_two_hundred_rounds_leave_nothing_in_memory_and_no_open_file(soak, process):
    """A copy of the model (2.4 kB) that is kept in each client's turn would be 5 MB."""
    assert soak.memory(process, LATE) - soak.memory(process, EARLY) < 2 * MEGABYTE
    assert soak.files(process, LATE) - soak.files(process, EARLY) < 1


def test_it_was_watched_to_the_end(soak):
    assert len(soak.seconds) == NUM_ROUNDS
    assert soak.samples[-1].round > 0.9 * NUM_ROUNDS
    assert len(soak.samples[0].memory) == 3
