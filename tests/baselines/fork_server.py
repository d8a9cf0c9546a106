"""Runs a baseline's command in processes that start at once, for a test that kills many.

It forks for every line of its input, {"package", "arguments", "folder", "log"} and perhaps
"max_file_bytes", and answers with the process's id and, once that has ended, its exit code. Without
a folder it runs the command itself: that imports what takes seconds.
"""

import json
import os
import resource
import runpy
import signal
import sys
from contextlib import chdir, redirect_stdout, suppress
from tempfile import TemporaryDirectory


def command(package, arguments, folder, log, max_file_bytes=None):
    """Be `python -m PACKAGE.main ARGUMENTS` in a folder, perhaps with a limit on files."""
    if max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    os.chdir(folder)
    # Whoever started the tests in the background had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = [f"{package}.main", *arguments]
    runpy.run_module(f"{package}.main", run_name="__main__")


def warm_up(package, arguments):
    """Run an experiment here, which imports and compiles what the others need, too."""
    sys.argv = [f"{package}.main", *arguments]
    with (
        TemporaryDirectory() as folder,
        chdir(folder),
        redirect_stdout(sys.stderr),
        suppress(SystemExit),
    ):
        runpy.run_module(f"{package}.main", run_name="__main__")


def serve():
    for line in sys.stdin:
        request = json.loads(line)
        if request["folder"] is None:
            warm_up(request["package"], request["arguments"])
            continue
        pid = os.fork()
        if pid == 0:
            try:
                command(**request)
            except SystemExit as ended:
                sys.stdout.flush()
                os._exit(ended.code)
            os._exit(99)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
