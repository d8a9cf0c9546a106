"""Check every run of a Hydra sweep before the first one starts."""

import re
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.errors import UserInputError
from common.experiment.config import ExperimentConfig, flat_keys, unknown_key
from common.experiment.machine import check_machine
from common.experiment.run_files import refuse_used

# What is no key of the schema, but may be added to the command line of any baseline.
_ADDED = ("+experiment", "+method", "+repeat_num")


class Refused(BaseException):
    """A refusal on its way past Hydra, which reports mere exceptions itself, its own way."""


def config_values(values: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain dictionaries, without Hydra's own part.

    Raises:
        UserInputError: A value refers to a key that is not there.
    """
    keys = [str(key) for key in values if key != "hydra"]
    try:
        plain = OmegaConf.to_container(OmegaConf.masked_copy(values, keys), resolve=True)
    except OmegaConfBaseException as error:
        raise UserInputError(_one_line(error)) from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def composition_problem(error: Exception, schema: type[ExperimentConfig]) -> str:
    """Say in one sentence why Hydra could not compose the configuration."""
    unknown = re.match(r"Could not override '(?P<key>[^']+)'", str(error))
    if unknown:
        return unknown_key(unknown["key"], [*flat_keys(schema), *_ADDED])
    return _one_line(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class CheckEveryRun(Callback):
    """A Hydra callback that checks the configuration of every run of a sweep.

    Args:
        schema: Import path of the schema to parse them with.
    """

    def __init__(self, schema: str) -> None:
        self._schema: type[ExperimentConfig] = get_class(schema)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Compose and check all runs.

        Raises:
            Refused: A run's configuration is not allowed here; none was started.
        """
        loader = GlobalHydra.instance().config_loader()
        try:
            for number, overrides in enumerate(_expand(config)):
                run = loader.load_sweep_config(config, overrides)
                check_machine(self._schema.parse(config_values(run)))
                refuse_used(Path(config.hydra.sweep.dir) / str(number))
        except UserInputError as error:
            raise Refused(str(error)) from None
        except (HydraException, OmegaConfBaseException) as error:
            raise Refused(composition_problem(error, self._schema)) from None


def _expand(config: DictConfig) -> list[list[str]]:
    """Return the overrides of every run, as Hydra's own sweeper is going to expand them."""
    parameters = config.hydra.sweeper.params or {}
    swept = [f"{key}={value}" for key, value in parameters.items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides([*swept, *config.hydra.overrides.task])
    return [run for batch in BasicSweeper.split_arguments(parsed, None) for run in batch]
