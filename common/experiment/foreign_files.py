"""Hydra runs the code that a configuration file names: only a baseline's own files are loaded."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common.errors import UserInputError

# With as few letters as Hydra takes them.
_FLAGS_FOR_FILES: Final = ("--config-d", "-cd", "--config-p", "-cp", "--e")
_FLAGS_FOR_NAMES: Final = ("--config-n", "-cn")


def refuse_foreign_files(arguments: Sequence[str], conf: Path) -> None:
    """Refuse a command line that has Hydra load a file from outside a folder.

    Args:
        arguments: The command line.
        conf: The folder.

    Raises:
        UserInputError: It has.
    """
    groups = {folder.name for folder in conf.iterdir() if folder.is_dir()}
    previous = ""
    for argument in arguments:
        key = argument.partition("=")[0].lstrip("+~").partition("@")[0]
        is_name = (
            key in groups
            or "/" in key  # Such as hydra/job_logging.
            or argument.startswith(_FLAGS_FOR_NAMES)
            or previous.startswith(_FLAGS_FOR_NAMES)
        )
        if (
            argument.startswith(_FLAGS_FOR_FILES)
            or key == "hydra.searchpath"
            or (is_name and _leads_elsewhere(argument))
        ):
            raise UserInputError(
                f"{argument} is not allowed: configuration files must be those in conf/ of the "
                "baseline, for Hydra runs code that such a file names."
            )
        previous = argument


def _leads_elsewhere(name: str) -> bool:
    return ".." in name or re.search(r"""(^|[=,\s'"[])/""", name) is not None
