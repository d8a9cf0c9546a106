"""Runs a Flower app with ``flwr run`` on a SuperLink of its own, and tells how the run ended.

    python -m common.engine.flwr_run baselines/fedprox mu=0.5 num_rounds=3 num_clients=30

Plain ``flwr run`` hands the app to a background SuperLink that keeps the environment, the folder
and the FLWR_HOME of whoever started it first, installs dependencies for every run, ends with 0
when the run failed, and leaves the run going on Ctrl-C. Here a SuperLink is started for the
caller, in the caller's folder and environment, reachable from this machine only; it ends, with
every process it started, when the caller is done. Linux only: processes are found by /proc.

The exit code is 0 if the run completed, 1 if it failed, 2 if it was asked for wrongly and 130 if
it was interrupted.
"""

import argparse
import contextlib
import difflib
import http.client
import json
import math
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import tomli_w
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from common.errors import UserInputError
from common.experiment.config import Scalar, flatten, read_default_config

COMPLETED, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

_LOOPBACK = "127.0.0.1"
# Always named: `flwr` would start a background SuperLink if it had to fall back to its default.
_CONNECTION = "private-superlink"
_START_TIMEOUT = 60.0
# The ServerApp's thread ignores a polite request. What has to survive is in its checkpoint, so
# there is nothing to wait for beyond this.
_PATIENCE = 2.0
_KILL_TIMEOUT = 10.0
_SCRIPTS = Path(sysconfig.get_path("scripts"))
_STARTED = re.compile(r"Successfully started run (\d+)")
_GUARD = "from common.engine.flwr_run import _guard; _guard()"


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
            f'[superlink.{_CONNECTION}]\naddress = "{_LOOPBACK}:{port}"\ninsecure = true\n'
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


def flwr_run(
    app_dir: Path,
    run_config: Mapping[str, Scalar],
    num_supernodes: int,
    *,
    superlink: SuperLink,
    num_cpus: int = 1,
    num_gpus: float = 0.0,
    timeout: float | None = None,
) -> int:
    """Run a Flower app, print its log as it comes, and return an honest exit code.

    Flower calls a run completed if its ServerApp returned, even when every client failed: a
    ServerApp has to raise if that matters to it. A run that does not end by itself ends together
    with the SuperLink, because ``flwr stop`` leaves its processes at work.

    Args:
        app_dir: The folder with the pyproject.toml of the app.
        run_config: Values for keys of its ``[tool.flwr.app.config]``; dotted keys for tables.
        num_supernodes: How many clients there are.
        superlink: What runs it; it may run several apps, one after the other.
        num_cpus: CPUs that one client occupies. Flower takes whole ones only.
        num_gpus: GPUs that one client occupies; a fraction shares one.
        timeout: Seconds after which the run is stopped and counts as failed.

    Returns:
        0 if the run completed, 1 if it failed, 130 if Ctrl-C stopped it.
    """
    federation_config = (
        f"num-supernodes={num_supernodes} client-resources-num-cpus={num_cpus}"
        f" client-resources-num-gpus={num_gpus}"
    )
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        # In a file, because what parses "key=value ..." knows no string with both kinds of quotes.
        tomli_w.dump(run_config, file)
        file.flush()
        process = superlink.flwr(
            *("run", app_dir, _CONNECTION, "--stream"),
            *("--run-config", file.name),
            *("--federation-config", federation_config),
        )
        log = _Log(process)
        try:
            process.wait(timeout)
            log.join()  # The last lines may hold the run's id, and belong before the verdict.
            return _verdict(superlink, log.run_id)
        except subprocess.TimeoutExpired:
            print(f"The run took more than {timeout} seconds: stopping it.", file=sys.stderr)
            superlink.stop()
            return FAILED
        except KeyboardInterrupt:
            print("Interrupted: stopping the run.", file=sys.stderr)
            superlink.stop()
            return INTERRUPTED
        finally:
            process.wait()
            log.join()


class _Log(threading.Thread):
    """Prints what `flwr run --stream` prints, as it comes, and picks the run's id out of it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self.run_id = ""
        self._process = process
        self.start()

    def run(self) -> None:
        """Print until the process ends."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if match := _STARTED.match(line):
                    self.run_id = match[1]
                # A reader that has gone, such as `head`, ends the printing but not the run.
                with contextlib.suppress(BrokenPipeError):
                    print(line, end="", flush=True)


def _verdict(superlink: SuperLink, run_id: str) -> int:
    """Ask how a run ended, now that its log has."""
    if not run_id:  # `flwr run` refused, and has said why.
        return FAILED
    with superlink.flwr("list", _CONNECTION, "--run-id", run_id, "--format", "json") as process:
        answer = process.communicate()[0]
    try:
        run = json.loads(answer)["runs"][0]
    except (ValueError, KeyError):
        print("The SuperLink has died, and the run with it.", file=sys.stderr)
        return FAILED
    if run["status"] == "finished:completed":
        return COMPLETED
    print(f"The run is {run['status']}: {run['status-details']}", file=sys.stderr)
    return FAILED


@dataclass(frozen=True)
class Request:
    """What the command line asks for: the arguments of :func:`flwr_run`."""

    app_dir: Path
    run_config: dict[str, Scalar]
    num_supernodes: int
    num_cpus: int
    num_gpus: float


def parse_request(app: str, pairs: Sequence[str]) -> Request:
    """Check a folder and ``key=value`` pairs against the app's own configuration.

    Raises:
        UserInputError: The folder holds no app, or a pair cannot be used.
    """
    app_dir = Path(app)
    defaults = _read_defaults(app_dir)
    run_config = dict(_parse_pair(pair, defaults) for pair in pairs)
    if folder := run_config.get("output_dir"):
        run_config["output_dir"] = str(Path(str(folder)).absolute())
    values = defaults | run_config
    return Request(
        app_dir=app_dir,
        run_config=run_config,
        num_supernodes=_num_clients(values),
        # Flower reserves whole CPUs only. How many workers that makes changes no result.
        num_cpus=max(1, math.ceil(_resource(values, "client_resources.num_cpus", default=1.0))),
        num_gpus=_resource(values, "client_resources.num_gpus", default=0.0),
    )


def _read_defaults(app_dir: Path) -> dict[str, Scalar]:
    pyproject = app_dir / "pyproject.toml"
    if not pyproject.is_file():
        raise UserInputError(f"{app_dir} is no Flower app: it has to be a folder with {pyproject}.")
    try:
        return flatten(read_default_config(pyproject))
    except KeyError:
        raise UserInputError(
            f"{app_dir} is no Flower app: {pyproject} has no table [tool.flwr.app.config]."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UserInputError(f"{pyproject} is not valid TOML: {error}.") from None


def _parse_pair(pair: str, defaults: Mapping[str, Scalar]) -> tuple[str, Scalar]:
    """Read one pair as the Hydra front end reads it."""
    try:
        override = OverridesParser.create().parse_override(pair)
    except HydraException:
        raise UserInputError(f"{pair!r} is not understood: give key=value.") from None
    key = override.get_key_element()
    if key not in defaults:
        near = difflib.get_close_matches(key, defaults, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(defaults)}."
        raise UserInputError(f"{key} is not a key of this app: {hint}")
    value = None if override.is_sweep_override() else override.value()
    kind = type(defaults[key])
    fits = type(value) is kind or (kind is float and type(value) is int)
    if fits and isinstance(value, Scalar) and "${" not in str(value):  # Flower resolves none.
        return key, value
    raise UserInputError(
        f"{pair!r} is not allowed: {key} takes one {kind.__name__}, such as {defaults[key]!r}."
    )


def _num_clients(values: Mapping[str, Scalar]) -> int:
    value = values.get("num_clients")
    if type(value) is not int or value < 1:
        raise UserInputError(
            f"num_clients={value!r} is not allowed: it must be a whole number from 1."
        )
    return value


def _resource(values: Mapping[str, Scalar], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool | str) or not 0 <= value < math.inf:
        raise UserInputError(f"{key}={value!r} is not allowed: it must be a number from 0.")
    return float(value)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m common.engine.flwr_run",
        description="Run a Flower app with `flwr run` on a SuperLink of its own.",
    )
    parser.add_argument("app", help="folder of the app, such as baselines/fedprox")
    parser.add_argument("pairs", nargs="*", metavar="key=value", help="as for the Hydra front end")
    options = parser.parse_args(arguments)
    # Also where a shell started this in the background, which would have it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        request = parse_request(options.app, options.pairs)
        with SuperLink() as superlink:
            return flwr_run(**vars(request), superlink=superlink)
    except UserInputError as error:
        print(error, file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
