"""All that a run needs to go on after a round, on disk."""

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flwr.app import ArrayRecord, RecordDict

from common.durable import telling, write_atomically
from common.errors import UserInputError
from common.experiment.record_file import from_bytes, to_bytes

_SERVER: Final = "server.safetensors"
_MODEL: Final = "model"
_STRATEGY: Final = "strategy."
_CLIENT_FILE: Final = re.compile(r"\.?client-\d+-\d+\.safetensors(\.unfinished)?")


@dataclass(frozen=True)
class Checkpoint:
    """A run after a round.

    Attributes:
        round: The round, from 1.
        arrays: The global model.
        strategy: What the strategy carries from round to round.
        clients: What each client keeps, by partition id.
        counters: Seconds so far, by what took them.
    """

    round: int
    arrays: ArrayRecord
    strategy: RecordDict
    clients: Mapping[int, RecordDict]
    counters: Mapping[str, float]


class CheckpointFolder:
    """The last checkpoint of a run.

    ``server.safetensors`` is replaced as a whole. It names the round after which each client last
    changed what it keeps; that is in ``client-<partition id>-<round>.safetensors``, so that a
    round writes its own clients only.

    Args:
        path: The folder; it exists.
        run: Identifies the run; a checkpoint of another one is refused.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        self._path = path
        self._run = run
        self._clients: Mapping[int, RecordDict] = {}
        self._changed: dict[int, int] = {}

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the last checkpoint; whatever happens meanwhile, there is one.

        Raises:
            StorageError: It cannot be written.
        """
        changed = dict(self._changed)
        for client, state in checkpoint.clients.items():
            if self._clients.get(client) is not state:
                changed[client] = checkpoint.round
                file = self._client_file(client, checkpoint.round)
                write_atomically(file, to_bytes(state, {}))
        records = {_STRATEGY + name: record for name, record in checkpoint.strategy.items()}
        about = {
            "run": self._run,
            "round": checkpoint.round,
            "clients": changed,
            "counters": dict(checkpoint.counters),
        }
        content = RecordDict({_MODEL: checkpoint.arrays, **records})
        write_atomically(self._path / _SERVER, to_bytes(content, about))
        outdated = self._changed.items() - changed.items()
        self._clients, self._changed = checkpoint.clients, changed
        for client, round_ in outdated:
            file = self._client_file(client, round_)
            with telling(file):
                file.unlink(missing_ok=True)

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint, None if there is none.

        Raises:
            UserInputError: It is damaged, or of another run.
        """
        file = self._path / _SERVER
        if not file.exists():
            return None
        try:
            content, about = _read(file)
            if about["run"] != self._run:
                raise ValueError("it is of another configuration, or of other data")
            self._changed = {int(client): int(r) for client, r in about["clients"].items()}
            self._clients = {
                client: _read(self._client_file(client, round_))[0]
                for client, round_ in self._changed.items()
            }
            checkpoint = Checkpoint(
                round=_positive(about["round"]),
                arrays=content.array_records[_MODEL],
                strategy=_without_prefix(content),
                clients=self._clients,
                counters={key: _finite(value) for key, value in about["counters"].items()},
            )
            self._remove_stray()
            return checkpoint
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UserInputError(
                f"{str(file)!r} is not allowed: it must be a checkpoint of this run "
                f"({type(error).__name__}: {error!s:.200}); without the folder it is in, the run "
                "begins anew."
            ) from None

    def clear(self) -> None:
        """Forget the checkpoint of a run that was there before."""
        with telling(self._path):
            (self._path / _SERVER).unlink(missing_ok=True)
            self._remove_stray()

    def remove(self) -> None:
        """Remove the folder, as far as that can be done: the run has ended, and lacks nothing.

        Some network file systems keep the file that the lock is on as long as it is open.
        """
        shutil.rmtree(self._path, ignore_errors=True)

    def _remove_stray(self) -> None:
        """Remove what was being written when the run was killed."""
        kept = {self._client_file(*of_client) for of_client in self._changed.items()}
        for file in self._path.iterdir():
            if _CLIENT_FILE.fullmatch(file.name) and file not in kept:
                file.unlink()

    def _client_file(self, client: int, round: int) -> Path:
        return self._path / f"client-{client}-{round}.safetensors"


def _read(file: Path) -> tuple[RecordDict, dict[str, Any]]:
    if not file.is_file():  # To open a pipe would be to wait for its writer.
        raise FileNotFoundError(file.name)
    return from_bytes(file.read_bytes())


def _without_prefix(content: RecordDict) -> RecordDict:
    return RecordDict(
        {
            name.removeprefix(_STRATEGY): record
            for name, record in content.items()
            if name.startswith(_STRATEGY)
        }
    )


def _positive(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"its round is {value!r:.50}")
    return value


def _finite(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a counter is {value!r:.50}")
    return float(value)
