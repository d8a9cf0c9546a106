"""The commands of the pages and READMEs: what they name is there, and their keys are allowed."""

import argparse
import re
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from markdown_pages import BASELINES, REPOSITORY

from common.errors import UserInputError
from common.experiment.cli import compose_config

PAGES = [
    *sorted((REPOSITORY / "docs").glob("*.md")),
    REPOSITORY / "README.md",
    *(file for folder in BASELINES for file in sorted(folder.glob("**/README.md"))),
]
# The tutorial makes this baseline; test_new_baseline.py gives its commands.
OF_THE_TUTORIAL = "fednova"
# What a reader puts in: FIGURE, RUNS, multirun/<date>/<time>, FOLDERS..., and the folder of a run.
PLACEHOLDER = re.compile(r"[A-Z]+(\.{3})?|.*<\w+>.*|…|resume=.*")
# The options of each script that take a value.
OPTIONS = {
    "main": ["--config-name"],
    "reproduce": ["--output"],
    "report": ["--output", "--store"],
    "show_partition": ["--picture"],
}

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_IN_PROSE = re.compile(r"`(python\s+-m\s[^`]+)`")
_COMMAND = re.compile(rf"python -m ([a-z_]+)\.({'|'.join(OPTIONS)})(?: |$)")


def commands(text):
    """Return the commands of a page that start a baseline, those in prose and tables, too."""
    lines = []
    for kind, block in _FENCE.findall(text):
        if kind in ("console", "bash"):
            prompt = "$ " if kind == "console" else ""
            stripped = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
            lines += [line[len(prompt) :] for line in stripped if line.startswith(prompt)]
    lines += _IN_PROSE.findall(_FENCE.sub("", text))
    words = [shlex.split(line, comments=True) for line in lines if "python" in line]
    return [shlex.join(line) for line in words if _COMMAND.match(" ".join(line))]


def check(command):
    """Raise what is wrong with a command, but for what depends on the machine.

    Raises:
        ModuleNotFoundError: There is no such package, or it has no such script.
        KeyError: There is no such figure.
        OSError: There is no such file of defaults.
        HydraException: An experiment or a key does not exist.
        UserInputError: A value is not allowed.
    """
    package, script = _COMMAND.match(command).groups()
    if not find_spec(f"{package}.{script}"):
        raise ModuleNotFoundError(f"{package} has no {script}.")
    replication = import_module(f"{package}.replication").REPLICATION
    given = _parse(script, command)
    keys = [word for word in given.words if "=" in word and not PLACEHOLDER.fullmatch(word)]
    # The other words of a report are folders.
    figures = [given.store] if script == "report" else [w for w in given.words if "=" not in w]
    named = [figure for figure in figures if figure and not PLACEHOLDER.fullmatch(figure)]
    if given.config_name:
        keys = [*_defaults(package, given.config_name), *keys]
    if script == "reproduce" or given.multirun:
        keys = _first_of_the_sweep(keys)
    compose_config(package, replication.schema, keys)
    for figure in named:
        replication.figures[figure]
        compose_config(package, replication.schema, [f"+experiment={figure}", *keys])


def _parse(script, command):
    parser = argparse.ArgumentParser(prog=script, allow_abbrev=False)
    parser.set_defaults(config_name=None, multirun=False, store=None)
    parser.add_argument("words", nargs="*")
    for option in OPTIONS[script]:
        parser.add_argument(option)
    if script == "main":
        parser.add_argument("--multirun", action="store_true")
    return parser.parse_intermixed_args(shlex.split(command)[3:])


def _defaults(package, name):
    """Return the keys of conf/NAME.yaml, which --config-name takes instead of the defaults."""
    folder = Path(import_module(package).__file__).parent
    values = yaml.safe_load((folder / "conf" / f"{name}.yaml").read_text(encoding="utf-8"))
    return [f"{key}={value}" for key, value in values.items() if key != "defaults"]


def _first_of_the_sweep(keys):
    parsed = OverridesParser.create().parse_overrides(keys)
    return BasicSweeper.split_arguments(parsed, None)[0][0]


EVERY_COMMAND = sorted(
    {
        command
        for page in PAGES
        for command in commands(page.read_text(encoding="utf-8"))
        if _COMMAND.match(command)[1] != OF_THE_TUTORIAL
    }
)


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_a_command_names_what_there_is(command):
    check(command)


def test_every_baseline_and_every_script_is_among_them():
    found = {_COMMAND.match(command).groups() for command in EVERY_COMMAND}
    packages = {folder.name for folder in BASELINES}
    scripts = ("main", "reproduce", "report")
    assert found >= {(package, script) for package in packages for script in scripts}
    assert ("fedprox", "show_partition") in found


def test_commands_are_found_in_blocks_prose_and_tables():
    page = (
        "`python -m\na.report` and | `python -m a.main b=1` | `make demo`\n"
        "```bash\npython -m a.main c=1 \\\n    d='1,2'   # comment\npython -m a.other\n```\n"
        "1. x\n   ```console\n   $ export A=1\n   $ python -m a.reproduce f\n"
        "   python -m a.main no=1\n   ```\n```python\npython -m a.main no=1\n```\n"
    )
    assert commands(page) == [
        "python -m a.main c=1 d=1,2",
        "python -m a.reproduce f",
        "python -m a.report",
        "python -m a.main b=1",
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("nosuch.main", ModuleNotFoundError),
        ("pruning_afo.show_partition", ModuleNotFoundError),
        ("fedprox.main num_round=3", HydraException),
        ("fedprox.main experiment=synthetic", HydraException),
        ("fedprox.main +experiment=synthetc", HydraException),
        ("fedprox.main +repeat=3", UserInputError),
        ("fedprox.main mu=-1", UserInputError),
        ("fedprox.main mu=0.0,2.0", HydraException),
        ("fedprox.main --multirun mu=-1,2.0", UserInputError),
        ("fedprox.main --config-name nosuch", OSError),
        ("fedprox.main --no-such-option", SystemExit),
        ("fedprox.show_partition num_clients=0", UserInputError),
        ("fedprox.reproduce synthetic", KeyError),
        ("fedprox.reproduce figure5 nosuch=1", HydraException),
        ("fedprox.report multirun/x --store synthetic", KeyError),
    ],
)
def test_a_command_that_is_wrong_is_found(words, error):
    with pytest.raises(error):
        check(f"python -m {words}")
