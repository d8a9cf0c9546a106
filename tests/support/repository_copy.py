"""A copy of the repository, for tests of commands that change it.

It has an environment of its own: a command that starts the interpreter of the tests, with the copy
before everything else on its path. Nothing is installed, and the real environment stays as it is.
"""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def copy_repository(target: Path) -> None:
    """Copy what git would commit, and give it an environment that `make` takes for up to date."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = REPOSITORY / name
        # Stored results are half of the bytes; a file that is listed may have been removed.
        if source.is_file() and source.parent.name != "results":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(source.read_bytes())
    _write_command(target / ".venv" / "bin" / "python", f'exec "{sys.executable}" "$@"')
    _write_command(
        target / ".poetry" / "bin" / "poetry", "exit 1"
    )  # Is there, and is never called.
    ready = target / ".venv" / ".ready"
    ready.touch()
    os.utime(ready, (2**32, 2**32))  # Newer than all that it is made of will ever be.


def run(command: str, copy: Path) -> str:
    """Run a shell command as a user of the copy does, who has no data.

    Returns:
        What it printed, to stdout or stderr; the command must not fail.
    """
    path = [copy, *sorted((copy / "baselines").glob("*/"))]
    environment = {
        **{key: value for key, value in os.environ.items() if key != "FLOWERBED_DATA"},
        "PATH": f"{copy / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        command,
        shell=True,
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    return done.stdout


def _write_command(file: Path, line: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(0o755)
