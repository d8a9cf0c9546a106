"""What a run must not do while it is on: leak, listen to other machines, or call them.

One run is watched for all of it; `make soak` watches a longer one.
"""

import os
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from processes import Socket, sockets
from soak import NUM_WORKERS, run_soak

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.slow,
]

NUM_ROUNDS = 700
# Before, memory that is used again and again still settles: by 7 MB over the first 400 rounds, and
# by 1 MB over the next 400.
EARLY, LATE = range(400, 500), range(600, 701)
MEGABYTE = 2**20
# On data from files, with the shortest rounds there are.
MNIST = ("dataset=mnist", "num_clients=20", "num_epochs=2")

# A network of its own, with a loopback interface and no route to anywhere else. The kernel counts
# in OutNoRoutes every attempt to reach a place without a route, even one to ask for a name.
NO_ROUTE = """
ip link set lo up && "$@"
code=$?
cat /proc/self/net/snmp /proc/self/net/snmp6 > "$COUNTERS"
exit $code
"""
UNSHARE = ("unshare", "--map-root-user", "--net", "sh", "-c", NO_ROUTE, "-")


def no_route():
    """Return what to put before a command so that it has no route; nothing where that is denied."""
    allowed = all(map(shutil.which, ("unshare", "ip"))) and not subprocess.call(
        [*UNSHARE, "true"], env=os.environ | {"COUNTERS": os.devnull}, stderr=subprocess.DEVNULL
    )
    return UNSHARE if allowed else ()


def num_attempts(counters):
    """Return how often somebody tried to reach a place without a route."""
    lines = counters.read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    (version_6,) = (line.split()[1] for line in lines if line.startswith("Ip6OutNoRoutes"))
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(version_6)


@pytest.fixture(scope="module")
def watched(tiny_mnist_folder, tmp_path_factory):
    """A run as a user has it: nothing forbids the hub's client to call."""
    folder = tmp_path_factory.mktemp("run")
    environment = {key: value for key, value in os.environ.items() if "OFFLINE" not in key} | {
        "FLOWERBED_DATA": str(tiny_mnist_folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "COUNTERS": str(folder / "counters"),
    }
    soak = run_soak(NUM_ROUNDS, folder / "run", *MNIST, prefix=no_route(), environment=environment)
    return SimpleNamespace(soak=soak, sockets=soak.sockets, counters=folder / "counters")


def test_it_was_watched_to_the_end(watched):
    assert len(watched.soak.seconds) == NUM_ROUNDS
    assert watched.soak.samples[-1].round > 0.9 * NUM_ROUNDS
    assert len(watched.soak.samples[0].memory) == 1 + NUM_WORKERS


@pytest.mark.parametrize("process", [0, 1, 2], ids=["server", "worker", "other worker"])
def test_rounds_leave_nothing_in_memory_and_no_open_file(watched, process):
    """A copy of the model (31 kB) that is kept in each client's turn would be 60 MB."""
    soak = watched.soak
    assert soak.memory(process, LATE) - soak.memory(process, EARLY) < 3 * MEGABYTE
    assert soak.files(process, LATE) - soak.files(process, EARLY) < 1


def test_a_run_needs_no_route_and_tries_none(watched):
    if not no_route():
        pytest.skip("this machine lets nobody make a network of his own")
    assert num_attempts(watched.counters) == 0


def test_an_attempt_would_be_counted(tmp_path):
    if not no_route():
        pytest.skip("this machine lets nobody make a network of his own")
    program = "import socket; socket.socket().connect_ex(('192.0.2.1', 80))"
    environment = os.environ | {"COUNTERS": str(tmp_path / "counters")}
    subprocess.run([*no_route(), sys.executable, "-c", program], env=environment, check=True)
    assert num_attempts(tmp_path / "counters") == 1


def test_nothing_listens_beyond_loopback_and_nothing_calls_beyond_it(watched):
    assert any(entry.is_listening for entry in watched.sockets)  # Ray's: they were looked at.
    assert [entry for entry in watched.sockets if not entry.is_local] == []


def test_a_socket_that_hears_or_calls_others_would_be_found():
    with socket.create_server(("", 0)) as server, socket.socket(type=socket.SOCK_DGRAM) as caller:
        caller.connect(("192.0.2.1", 9))  # An address for documentation; nothing is sent.
        found = sockets([os.getpid()])
        assert Socket("0.0.0.0", "0.0.0.0", True) in found
        assert {entry.remote for entry in found if not entry.is_local} >= {"192.0.2.1"}
        server.close()
    assert not Socket("0.0.0.0", "0.0.0.0", True).is_local
    assert Socket("127.0.0.1", "0.0.0.0", True).is_local
    assert Socket("127.0.0.1", "127.0.0.1", False).is_local
    assert not Socket("10.0.0.1", "192.0.2.1", False).is_local
