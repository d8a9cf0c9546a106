"""The names of the files in a run directory, and whether a folder is one."""

from pathlib import Path
from typing import Final

from common.errors import UserInputError

CONFIG: Final = "config.yaml"
ENVIRONMENT: Final = "environment.json"
ROUNDS: Final = "rounds.jsonl"
MODEL: Final = "model.safetensors"
SUMMARY: Final = "summary.json"


def refuse_used(path: Path) -> None:
    """Refuse to write a run where there is one.

    Raises:
        UserInputError: The folder holds a run.
    """
    if (path / CONFIG).exists():
        raise UserInputError(
            f"output_dir={str(path)!r} is not allowed: it must be a folder without a run, and this "
            "one holds a run already."
        )
