"""A private Flower SuperLink that leaves no process behind.

Plain ``flwr run`` starts a background SuperLink and leaves it running, in the environment, the
folder and the FLWR_HOME of whoever was first. This one lives as long as its caller wants, in the
caller's environment and folder, and is reachable from this machine only. Linux only: processes are
found by /proc.
"""

import contextlib
import http.client
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from common.errors import UserInputError

# Always named: `flwr` would start a background SuperLink if it had to fall back to its default.
CONNECTION: Final = "private-superlink"

_LOOPBACK = "127.0.0.1"
_START_TIMEOUT = 60.0
# The ServerApp's thread ignores a polite request. What has to survive is in its run directory, so
# there is nothing to wait for beyond this.
_PATIENCE = 2.0
_KILL_TIMEOUT = 10.0
_SCRIPTS = Path(sysconfig.get_path("scripts"))
_GUARD = "from common.engine.superlink import _guard; _guard()"


class SuperLink:
    """A private SuperLink, alive within a ``with`` block, that leaves no process behind.

    It has a free port of the loopback interface and a temporary FLWR_HOME. The app runs in the
    folder and environment that the caller has when the block is entered.
    """

    def __enter__(self) -> Self:
        if sys.platform != "linux":
            raise UserInputError("This needs Linux: on other systems, use `flwr run` itself.")
        port = _free_port()
        home = Path(tempfile.mkdtemp(prefix="flowerbed-superlink-"))
        (home / "config.toml").write_text(
            f'[superlink.{CONNECTION}]\naddress = "{_LOOPBACK}:{port}"\ninsecure = true\n'
        )
        self._environment = _environment(home)
        self._log = tempfile.TemporaryFile()
        command = f"--insecure --simulation --host {_LOOPBACK} --port {port}".split()
        self._guard = subprocess.Popen(
            [sys.executable, "-P", "-c", _GUARD, home, _SCRIPTS / "flower-superlink", *command],
            env=self._environment,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal reaches a whole process group; it is ours alone to handle.
            start_new_session=True,
        )
        try:
            self._wait_for_health(port)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the SuperLink, its runs, and every process of theirs."""
        assert self._guard.stdin is not None
        # Written, not only closed: a process that the caller forked may hold the pipe open.
        if not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(b"stop")
            self._guard.stdin.close()
        self._guard.wait()
        self._log.close()

    def flwr(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start the ``flwr`` command for this SuperLink, with its standard output in a pipe."""
        return subprocess.Popen(
            [_SCRIPTS / "flwr", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _wait_for_health(self, port: int) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not _is_healthy(port):
            if self._guard.poll() is not None or time.monotonic() > deadline:
                self._log.seek(0)
                raise RuntimeError(f"The SuperLink did not start: {self._log.read().decode()}")
            time.sleep(0.05)


def _environment(home: Path) -> dict[str, str]:
    """Return the caller's environment with what makes a SuperLink private, quiet and offline."""
    here = {name: f"{os.environ.get(name, '')},{_LOOPBACK}" for name in ("NO_PROXY", "no_proxy")}
    return (
        os.environ
        | here
        | {
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            # A Ray of its own, not a cluster that happens to run here; and one that listens on the
            # loopback interface only, as Ray does on systems where it forms no clusters.
            "RAY_ADDRESS": "local",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # The SuperLink starts its helpers by their bare names, which fails unless the virtual
            # environment is activated.
            "PATH": f"{_SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",  # A log that is read through a pipe would come in blocks.
        }
    )


def _free_port() -> int:
    with socket.create_server((_LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _guard() -> None:
    """Keep a SuperLink until the caller says stop, or is gone; then end all that came of it.

    A process of its own, so that neither a killed caller nor an impatient second Ctrl-C can cut
    the cleaning up short.
    """
    home, *command = sys.argv[1:]
    superlink = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    # Readable means that the caller has written, or that its end of the pipe is closed.
    while superlink.poll() is None and not select.select([sys.stdin], [], [], 0.2)[0]:
        pass
    _end_processes(f"FLWR_HOME={home}")
    superlink.wait()
    shutil.rmtree(home, ignore_errors=True)


def _end_processes(setting: str) -> None:
    """End all other processes descended from one with ``NAME=value`` set, politely first."""
    sessions: set[int] = set()
    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, _KILL_TIMEOUT)):
        deadline = time.monotonic() + patience
        told: set[int] = set()
        while time.monotonic() < deadline and (running := _processes(setting, sessions)):
            for pid in running - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= running
            time.sleep(0.05)


def _processes(setting: str, sessions: set[int]) -> set[int]:
    """Return the other processes with a setting in their environment or in one of some sessions.

    The sessions of the processes with the setting are added to those given. Parents tell nothing:
    Ray's processes get new ones when the simulation ends. Neither is the environment enough:
    Ray's processes write their title over it.
    """
    session_of = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has just ended, or it is somebody else's.
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state == "Z":
                continue
            session_of[int(folder.name)] = int(session)
            if setting.encode() in (folder / "environ").read_bytes().split(b"\0"):
                sessions.add(int(session))
    return {pid for pid, session in session_of.items() if session in sessions} - {os.getpid()}
