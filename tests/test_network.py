"""While a run is on, nothing listens to other machines, and nothing calls them."""

import os
import shutil
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from processes import Socket, descendants, sockets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# A network of its own, with a loopback interface and no route to anywhere else. The kernel counts
# in OutNoRoutes every attempt to reach a place without a route, even one to ask for a name.
NO_ROUTE = """
ip link set lo up && "$@"
code=$?
cat /proc/self/net/snmp /proc/self/net/snmp6 > "$COUNTERS"
exit $code
"""
UNSHARE = ("unshare", "--map-root-user", "--net", "sh", "-c", NO_ROUTE, "-")
MNIST = ("dataset=mnist", "num_clients=20", "clients_per_round=4", "num_epochs=2", "num_rounds=3")


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
def run(tiny_mnist_folder, tmp_path_factory):
    """A run on Ray as a user has it, data in files, nothing forbidding the hub's client to call."""
    folder = tmp_path_factory.mktemp("run")
    environment = {key: value for key, value in os.environ.items() if "OFFLINE" not in key} | {
        "FLOWERBED_DATA": str(tiny_mnist_folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "COUNTERS": str(folder / "counters"),
    }
    process = subprocess.Popen(
        [*no_route(), sys.executable, "-m", "fedprox.main", *MNIST, f"output_dir={folder / 'run'}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = set()
    while process.poll() is None:
        seen |= sockets([process.pid, *descendants(process.pid)])
        time.sleep(0.1)
    output = process.stdout.read()
    assert process.returncode == 0, output
    return SimpleNamespace(output=output, sockets=seen, counters=folder / "counters")


def test_a_run_needs_no_route_and_tries_none(run):
    if not no_route():
        pytest.skip("this machine lets nobody make a network of his own")
    assert "Results are in" in run.output
    assert num_attempts(run.counters) == 0


def test_an_attempt_would_be_counted(tmp_path):
    if not no_route():
        pytest.skip("this machine lets nobody make a network of his own")
    program = "import socket; socket.socket().connect_ex(('192.0.2.1', 80))"
    environment = os.environ | {"COUNTERS": str(tmp_path / "counters")}
    subprocess.run([*no_route(), sys.executable, "-c", program], env=environment, check=True)
    assert num_attempts(tmp_path / "counters") == 1


def test_nothing_listens_beyond_loopback_and_nothing_calls_beyond_it(run):
    assert any(entry.is_listening for entry in run.sockets)  # Ray's: they were looked at.
    assert [entry for entry in run.sockets if not entry.is_local] == []


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
