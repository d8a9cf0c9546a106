"""Runs a Flower app with ``flwr run`` on a SuperLink of its own, and tells how the run ended.

    python -m common.engine.flwr_run baselines/fedprox mu=0.5 num_rounds=3 num_clients=30

Plain ``flwr run`` hands the app to a background SuperLink that keeps the environment and the
folder of whoever started it first; it ends with 0 when the run failed, and leaves the run going on
Ctrl-C. Here the run has a SuperLink of its own, see :mod:`common.engine.superlink`.

The exit code is 0 if the run completed, 1 if it failed, 2 if it was asked for wrongly and 130 if
it was interrupted.
"""

import argparse
import contextlib
import json
import math
import re
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from common.engine.superlink import CONNECTION, SuperLink
from common.errors import UserInputError
from common.experiment.config import Scalar, flatten, read_default_config, unknown_key

COMPLETED, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

_STARTED = re.compile(r"Successfully started run (\d+)")


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
    ServerApp has to raise if that matters to it. A run that is stopped ends with the SuperLink:
    ``flwr stop`` would reach its processes with the next heartbeat only, up to half a minute later.

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
            *("run", app_dir, CONNECTION, "--stream"),
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
    with superlink.flwr("list", CONNECTION, "--run-id", run_id, "--format", "json") as process:
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
    """What the command line asks for: the arguments of :func:`flwr_run`.

    Attributes:
        app_dir: The folder with the pyproject.toml of the app.
        run_config: Values for keys of its configuration, dotted.
        num_supernodes: How many clients there are.
        num_cpus: CPUs that one client occupies, whole ones.
        num_gpus: GPUs that one client occupies; a fraction shares one.
    """

    app_dir: Path
    run_config: dict[str, Scalar]
    num_supernodes: int
    num_cpus: int
    num_gpus: float


def parse_request(app: str, pairs: Sequence[str]) -> Request:
    """Check a folder and ``key=value`` pairs against the app's own configuration.

    Args:
        app: The folder.
        pairs: What the command line has of ``key=value``.

    Returns:
        What to run.

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
        raise UserInputError(unknown_key(key, defaults))
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
    if isinstance(value, bool | str) or not 0 <= value < 2**31:
        raise UserInputError(f"{key}={value!r} is not allowed: it must be a number from 0.")
    return float(value)


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
