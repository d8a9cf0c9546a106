"""`resume=RUN`: the configuration of a run that was stopped, instead of the defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.errors import UserInputError
from common.experiment.config import ExperimentConfig
from common.experiment.run_files import CONFIG, read_config

KEY: Final = "resume"


@dataclass(frozen=True)
class Resumed:
    """A run to go on with.

    Attributes:
        values: Its configuration, as a base for Hydra; ``output_dir`` is where it lies now.
        arguments: The rest of the command line.
    """

    values: dict[str, Any]
    arguments: list[str]


def find_resumed(arguments: Sequence[str], schema: type[ExperimentConfig]) -> Resumed | None:
    """Return the run that a command line asks to go on with, None if there is none.

    The address of a Ray cluster is not taken from the run: who joins a cluster trusts it, and the
    run may be somebody else's.

    Args:
        arguments: The command line.
        schema: What the run's configuration is checked against.

    Raises:
        UserInputError: What ``resume`` names is no run of this experiment, or the command line asks
            for more than that.
    """
    asked = [argument for argument in arguments if argument.startswith(f"{KEY}=")]
    if not asked:
        return None
    rest = [argument for argument in arguments if argument not in asked]
    _require_one_run(asked, rest)
    folder = _folder(asked[0])
    values = read_config(folder, schema).model_dump() | {
        "output_dir": str(folder),
        "ray_address": "",
    }
    _require_plain(values, folder)
    return Resumed(values, rest)


def _require_one_run(asked: list[str], rest: list[str]) -> None:
    multirun = [argument for argument in rest if argument.startswith(("-m", "--m", "hydra.mode"))]
    elsewhere = [argument for argument in rest if argument.startswith("output_dir=")]
    if len(asked) > 1 or multirun or elsewhere:
        also = (asked[1:] + multirun + elsewhere)[0]
        raise UserInputError(
            f"{asked[0]} is not allowed with {also}: it must name the one run to go on with, in "
            "its own folder."
        )


def _folder(argument: str) -> Path:
    try:
        folder = Path(argument.removeprefix(f"{KEY}=")).expanduser().resolve()
        if (folder / CONFIG).is_file():
            return folder
    except (OSError, RuntimeError, ValueError):  # A name too long, the home of nobody.
        folder = Path(argument[:200])
    raise UserInputError(
        f"resume={str(folder)!r} is not allowed: it must be the folder of a run, which holds its "
        f"{CONFIG}; a sweep goes on when its own command is given again, with output_dir=FOLDER."
    )


def _require_plain(values: dict[str, Any], folder: Path) -> None:
    """Refuse what Hydra would not take as it stands, such as a reference to a variable."""
    for key, value in values.items():
        if isinstance(value, str) and "${" in value:
            raise UserInputError(
                f"{str(folder)!r} is not allowed: {key}={value!r} of its config.yaml must be a "
                "value, not a reference."
            )
