import subprocess
import sys
import time

import foreign_load
import pytest
from foreign_load import ForeignLoad

SPIN = "import time; end = time.process_time() + 0.6\nwhile time.process_time() < end: pass"


def test_what_a_descendant_uses_is_not_foreign():
    before = foreign_load._cpu_seconds_of_tree(foreign_load.os.getpid())
    process = subprocess.Popen([sys.executable, "-c", SPIN + "\ntime.sleep(30)"])
    try:
        deadline = time.monotonic() + 20
        used = 0.0
        while used < 0.5 and time.monotonic() < deadline:
            time.sleep(0.05)
            tree = foreign_load._cpu_seconds_of_tree(foreign_load.os.getpid())
            used = sum(seconds for key, seconds in tree.items() if key[0] == process.pid)
    finally:
        process.kill()
        process.wait()

    assert used >= 0.5
    assert process.pid not in {pid for pid, _ in before}


@pytest.fixture
def scripted(monkeypatch):
    """Let samples say that the machine was busy for 2 s a second, the tree for ``own`` of them."""

    def script(own):
        clock = {"now": 0.0}

        def tree(root):
            clock["now"] += 1
            return {(1, 1): own * clock["now"]}

        monkeypatch.setattr(foreign_load, "_cpu_seconds_of_tree", tree)
        monkeypatch.setattr(foreign_load, "_busy_seconds", lambda: 2 * clock["now"])
        monkeypatch.setattr(foreign_load.time, "perf_counter", lambda: clock["now"])
        monkeypatch.setattr(foreign_load.os, "cpu_count", lambda: 2)

    return script


@pytest.mark.parametrize(("own", "share"), [(0.0, 1.0), (1.0, 0.5), (2.0, 0.0)])
def test_share_is_what_others_used_of_all_cores(scripted, own, share):
    scripted(own)
    foreign = ForeignLoad()
    for _ in range(5):
        foreign._sample()

    assert foreign.share(1.5, 3.5) == pytest.approx(share, abs=0.01)
