"""Check every run of a Hydra sweep before the first one starts."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

_MAX_MESSAGE = 2000  # Hydra quotes arguments of any length.


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


def config_groups(package: str) -> list[str]:
    """Return the folders of a baseline's ``conf``, whose files are added with a plus.

    Args:
        package: Name of the baseline's package, which is imported.
    """
    conf = Path(str(sys.modules[package].__file__)).parent / "conf"
    return sorted(path.name for path in conf.glob("*/") if path.is_dir())


def composition_problem(error: Exception, schema: type[ExperimentConfig]) -> str:
    """Say in one sentence why Hydra could not compose the configuration."""
    unknown = re.match(r"Could not override '(?P<key>[^']+)'", str(error))
    if unknown:
        package = schema.__module__.partition(".")[0]
        added = [f"+{name}" for name in (*config_groups(package), "repeat_num")]
        return unknown_key(unknown["key"], [*flat_keys(schema), *added])
    return _one_line(error)


@contextmanager
def composing(is_on: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Take what Hydra trips over in odd arguments for a problem of the arguments.

    Args:
        is_on: Whether Hydra is still composing; afterwards an error is one.

    Raises:
        UserInputError: Hydra raised something that is not its own report.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException, UserInputError):
        raise
    except Exception as error:
        if not is_on():
            raise
        raise UserInputError(
            f"The arguments cannot be understood ({_one_line(error) or type(error).__name__})."
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:_MAX_MESSAGE]


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
            for number, overrides in enumerate(expand_sweep(config)):
                with composing():
                    run = loader.load_sweep_config(config, overrides)
                output_dir = {"output_dir": str(Path(config.hydra.sweep.dir) / str(number))}
                check_machine(self._schema.parse(config_values(run) | output_dir))
        except UserInputError as error:
            raise Refused(str(error)) from None
        except (HydraException, OmegaConfBaseException) as error:
            raise Refused(composition_problem(error, self._schema)) from None


def expand_sweep(config: DictConfig) -> list[list[str]]:
    """Return the overrides of every run of a sweep, as Hydra's own sweeper is going to expand them.

    Args:
        config: A composed configuration with Hydra's own part; Hydra is initialised.
    """
    parameters = config.hydra.sweeper.params or {}
    swept = [f"{key}={value}" for key, value in parameters.items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides([*swept, *config.hydra.overrides.task])
    return [run for batch in BasicSweeper.split_arguments(parsed, None) for run in batch]
