"""The Hydra front end: `python -m <baseline>.main key=value ...`.

The table ``[tool.flwr.app.config]`` of the baseline's pyproject.toml becomes the config named
"config"; the YAML files of the baseline's ``conf`` folder hold only what differs from it.
"""

import os
import sys
import tomllib
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.errors import ClientFailedError, StorageError, UserInputError
from common.experiment.config import (
    Config,
    ExperimentConfig,
    read_default_config,
)
from common.experiment.foreign_files import refuse_foreign_files
from common.experiment.interruption import interruptible, interruption_code
from common.experiment.machine import check_machine
from common.experiment.resume import find_resumed
from common.experiment.run_files import is_complete
from common.experiment.say import say
from common.experiment.sweep import (
    CheckEveryRun,
    Refused,
    composing,
    composition_problem,
    config_groups,
    config_values,
)

COMPLETE: Final = 0
FAILURE: Final = 1
USER_INPUT: Final = 2


def main(package: str, schema: type[ExperimentConfig]) -> int:
    """Run the experiment, or the sweep, that the command line asks for.

    Args:
        package: Name of the baseline's package.
        schema: What the configuration is checked against.

    Returns:
        The exit code, 0 complete, 2 bad configuration, 1 failure, 130 interrupted by Ctrl-C, 143
        terminated.
    """

    def command() -> None:
        refuse_foreign_files(sys.argv[1:], Path(_conf(package)))
        resumed = find_resumed(sys.argv[1:], schema)
        if resumed:
            sys.argv[1:] = resumed.arguments
        _register(package, schema, resumed.values if resumed else _defaults(package))
        with composing(lambda: not has_begun):
            run()

    has_begun: list[bool] = []

    @hydra.main(version_base="1.3", config_path=_conf(package), config_name="config")
    def run(values: DictConfig) -> None:
        has_begun.append(True)
        try:
            config = schema.parse(config_values(values) | _output_dir())
            check_machine(config)
            _run(config, package)
        except UserInputError as error:
            raise Refused(str(error)) from None

    # Otherwise Hydra prints errors its own way and exits with 1, whatever they are.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with interruptible():
        return exit_code(command, schema)


def _run(config: ExperimentConfig, package: str) -> None:
    """Import the baseline's apps, which takes seconds, while the workers start; then run them."""
    if config.output_dir and is_complete(Path(config.output_dir).expanduser()):
        say(f"Complete already: results are in {Path(config.output_dir).resolve()}")
        return
    # Here, because a configuration should be refused before the wait for these imports.
    from common import engine
    from common.experiment.run_experiment import run_experiment, workers_of

    with ThreadPoolExecutor(max_workers=1) as thread:
        apps = thread.submit(_import_apps, package)
        if config.engine == "ray":
            engine.start_workers(**workers_of(config))
    server_app, client_app = apps.result()
    run_experiment(config, server_app, client_app)


def _import_apps(package: str) -> tuple[Any, Any]:
    """Import the apps that the baseline's pyproject.toml names, as `flwr run` does."""
    with _pyproject(package).open("rb") as file:
        components = tomllib.load(file)["tool"]["flwr"]["app"]["components"]
    return resolve_name(components["serverapp"]), resolve_name(components["clientapp"])


def compose_config(package: str, schema: type[Config], overrides: Sequence[str]) -> Config:
    """Return the configuration that ``main`` would run for these arguments.

    Args:
        package: Name of the baseline's package.
        schema: What the configuration is checked against.
        overrides: As on the command line, key=value.

    Raises:
        UserInputError: A value is not allowed.
        HydraException: The arguments cannot be understood.
    """
    _register(package, schema, _defaults(package))
    with hydra.initialize_config_dir(version_base="1.3", config_dir=_conf(package)):
        with composing():
            values = hydra.compose("config", list(overrides))
        return schema.parse(config_values(values))


def exit_code(command: Callable[[], object], schema: type[ExperimentConfig]) -> int:
    """Run a command; say on stderr what went wrong, and return the exit code that it has."""
    try:
        command()
    except KeyboardInterrupt as interruption:
        return _report("Interrupted.", interruption_code(interruption))
    except (Refused, UserInputError) as error:
        return _report(str(error), USER_INPUT)
    except (HydraException, OmegaConfBaseException) as error:
        return _report(composition_problem(error, schema), USER_INPUT)
    except (ClientFailedError, StorageError) as error:
        return _report(str(error), FAILURE)
    except Exception:
        traceback.print_exc()
        return FAILURE
    return COMPLETE


def _conf(package: str) -> str:
    """Return the folder of a baseline's YAML files."""
    return str(Path(str(sys.modules[package].__file__)).parent / "conf")


def _pyproject(package: str) -> Path:
    return Path(_conf(package)).parents[1] / "pyproject.toml"


def _defaults(package: str) -> dict[str, Any]:
    return read_default_config(_pyproject(package))


def _register(package: str, schema: type[ExperimentConfig], base: dict[str, Any]) -> None:
    """Make a configuration Hydra's base."""
    OmegaConf.register_new_resolver("either", lambda first, second: first or second, replace=True)
    settings = _hydra_settings(package, f"{schema.__module__}.{schema.__qualname__}")
    ConfigStore.instance().store(name="config", node=settings | base)


def _hydra_settings(package: str, schema: str) -> dict[str, Any]:
    """Leave the run directory to the run itself: nothing is written for a refused one."""
    time = "${now:%Y-%m-%d}/${now:%H-%M-%S}"
    check = f"{CheckEveryRun.__module__}.{CheckEveryRun.__qualname__}"
    return {
        "defaults": ["_self_", {"override hydra/job_logging": "none"}],
        "hydra": {
            "job": {"name": package},
            "help": {"template": _help(package)},
            "callbacks": {"check_every_run": {"_target_": check, "schema": schema}},
            "output_subdir": None,
            "run": {"dir": "."},
            "sweep": {
                "dir": "${either:${output_dir},multirun/" + time + "}",
                "subdir": "${hydra.job.num}",
            },
        },
    }


def _help(package: str) -> str:
    return f"""Run an experiment: python -m {package}.main [flags] key=value ...

Keys and their defaults, whose meaning is told in the baseline's pyproject.toml:

$CONFIG
resume=RUN goes on with a run that was stopped; the keys are then those of RUN.
Added with a plus: {", ".join(f"+{group}=NAME" for group in config_groups(package))} (files of
conf/), +repeat_num=R (the seed + R).
--multirun runs every combination of key=value,value ...; --config-name NAME starts from
conf/NAME.yaml instead of the defaults.

$FLAGS_HELP
"""


def _output_dir() -> dict[str, str]:
    """Give every run of a sweep a folder of its own; a single run keeps its ``output_dir``."""
    settings = HydraConfig.get()
    return {"output_dir": settings.runtime.output_dir} if settings.mode == RunMode.MULTIRUN else {}


def _report(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
