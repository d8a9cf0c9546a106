"""The systems that are measured, and which works each does."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
REPOSITORY: Final = HERE.parents[1]
OURS: Final = sys.executable
PFL_PYTHON: Final = REPOSITORY / ".bench" / "pfl" / "bin" / "python"


@dataclass(frozen=True)
class System:
    """One row of the tables.

    Attributes:
        name: Names it in files.
        title: Names it for readers.
        script: What runs it, in this folder.
        options: What to tell the script beside the job.
        python: The interpreter of its environment.
        works: Names of the works that it does.
        is_ours: Whether it is Flowerbed.
    """

    name: str
    title: str
    script: str
    works: Sequence[str]
    options: Sequence[str] = ()
    python: str | Path = OURS
    is_ours: bool = False

    def command(
        self, work: str, arrays: Path, result: Path, min_seconds: float
    ) -> list[str | Path]:
        """Return the command line that does a work."""
        job = (work, arrays, result, "--min-seconds", str(min_seconds))
        return [self.python, HERE / self.script, *job, *self.options]


_LOGISTIC = ("logistic_e20", "logistic_e1")
_TRAINING = (*_LOGISTIC, "cnn")
_IDLE = ("nothing", "transport")

SYSTEMS: Final = (
    System("loop", "DataLoader loop, no framework", "data_loader_loop.py", _TRAINING),
    System(
        "pfl", "pfl-research, its own training loop", "peer_pfl.py", _TRAINING, python=PFL_PYTHON
    ),
    System("flower", "Flower's engine, a DataLoader client", "stock_flower.py", _TRAINING),
    System(
        "flower_ours",
        "Flower's engine, our client",
        "stock_flower.py",
        _LOGISTIC,
        ("--client", "flowerbed"),
    ),
    System(
        "flower_idle",
        "Flower's engine, a client that does nothing",
        "stock_flower.py",
        _IDLE,
        ("--client", "nothing"),
    ),
    System(
        "inline",
        "Flowerbed, inline",
        "our_engine.py",
        (*_TRAINING, *_IDLE),
        ("--engine", "inline"),
        is_ours=True,
    ),
    System(
        "ray",
        "Flowerbed, ray",
        "our_engine.py",
        (*_TRAINING, *_IDLE),
        ("--engine", "ray"),
        is_ours=True,
    ),
)
