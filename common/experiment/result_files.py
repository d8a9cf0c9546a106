"""The files of a run directory -> what they say, whoever wrote them and whatever befell them.

Each of these functions either returns what its file must hold or raises a UserInputError, and takes
time and memory in proportion to the file, whose size is limited.
"""

import errno
import json
import math
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

from common.errors import UserInputError

# Ten times what a run of this suite leaves; 128 MiB are 4,000 rounds of 5,000 clients.
MOST_CONFIG_BYTES: Final = 16 * 2**10
MOST_ROUNDS_BYTES: Final = 128 * 2**20
MOST_SUMMARY_BYTES: Final = 2**20
# PyYAML takes minutes for thousands of open brackets.
MOST_CONFIG_LEVELS: Final = 20


def read_config(file: Path) -> dict[Any, Any]:
    """Return what config.yaml holds: a mapping, of what values is not checked.

    Raises:
        UserInputError: It cannot be read, is too large, too deep or no YAML mapping, or has an
            alias.
    """
    text = _read(file, MOST_CONFIG_BYTES)
    try:
        _refuse_bombs(text)
        config = yaml.safe_load(text)
        if not isinstance(config, dict):
            raise TypeError
    except Exception:  # Beside its own, PyYAML raises half a dozen types for values like `!!int`.
        rule = f"a YAML mapping without aliases and of at most {MOST_CONFIG_LEVELS} levels"
        raise _refused(file, rule) from None
    return config


def read_rounds(file: Path) -> list[dict[str, Any]]:
    """Return the records of rounds.jsonl, at least one.

    Line n is an object whose ``round`` is n and whose ``test_accuracy`` is from 0 to 1, or null
    where it was not finite. What else it has is not checked.

    Raises:
        UserInputError: The file cannot be read or is too large, or a line is not such an object.
    """
    lines = _read(file, MOST_ROUNDS_BYTES).removesuffix("\n").split("\n")
    return [_parse_round(file, number, line) for number, line in enumerate(lines, 1)]


def read_first_rounds(file: Path, num_rounds: int) -> tuple[str, list[dict[str, Any]]]:
    """Return the lines of the first rounds, and their records; what follows may be anything.

    Line n is an object whose ``round`` is n. What else it has is not checked.

    Raises:
        UserInputError: The file cannot be read or is too large, there are fewer lines, or one is
            not such an object.
    """
    content = _read_bytes(file, MOST_ROUNDS_BYTES)
    lines = _decode(file, b"\n".join(content.split(b"\n")[:num_rounds])).split("\n")[:num_rounds]
    if len(lines) < num_rounds:
        raise _refused(file, f"the lines of {num_rounds} rounds, which the checkpoint follows")
    records = [_parse_numbered(file, number, line) for number, line in enumerate(lines, 1)]
    return "".join(line + "\n" for line in lines), records


def read_environment(file: Path) -> dict[str, Any]:
    """Return what environment.json holds: an object, whose ``resumed`` is a list if it is there.

    Raises:
        UserInputError: It cannot be read, is too large or no such object.
    """
    environment = _parse_json(_read(file, MOST_SUMMARY_BYTES))
    if not isinstance(environment, dict) or type(environment.get("resumed", [])) is not list:
        raise _refused(file, "a JSON object, whose 'resumed' is a list")
    return environment


def read_summary(file: Path) -> dict[str, Any]:
    """Return what summary.json holds: an object, of what values is not checked.

    Raises:
        UserInputError: The file cannot be read, is too large or no JSON object.
    """
    summary = _parse_json(_read(file, MOST_SUMMARY_BYTES))
    if not isinstance(summary, dict):
        raise _refused(file, "a JSON object")
    return summary


def finite(value: object) -> float | None:
    """Return a number as a float; None if it is no number, or not a finite one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _read(file: Path, most_bytes: int) -> str:
    return _decode(file, _read_bytes(file, most_bytes))


def _read_bytes(file: Path, most_bytes: int) -> bytes:
    try:
        if file.exists() and not file.is_file():  # To open a pipe would be to wait for its writer.
            raise OSError(errno.EINVAL, "it is no file")
        with file.open("rb") as stream:
            content = stream.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise OSError(errno.EFBIG, "it is larger")
        return content
    except OSError as error:
        rule = f"a file of UTF-8 text of at most {most_bytes:,} bytes that can be read"
        raise _refused(file, f"{rule} ({error.strerror})") from None


def _decode(file: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _refused(file, "a file of UTF-8 text") from None


def _refuse_bombs(text: str) -> None:
    """Raise a ValueError for YAML that means much more work than its length says."""
    levels = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        levels += isinstance(event, yaml.CollectionStartEvent)
        levels -= isinstance(event, yaml.CollectionEndEvent)
        # A few lines of aliases of aliases stand for millions of values, once they are merged.
        if levels > MOST_CONFIG_LEVELS or isinstance(event, yaml.AliasEvent):
            raise ValueError


def _refused(file: Path, rule: str, line: int | None = None) -> UserInputError:
    where = repr(str(file)) if line is None else f"line {line} of {str(file)!r}"
    return UserInputError(f"{where} is not allowed: it must be {rule}.")


def _parse_round(file: Path, number: int, line: str) -> dict[str, Any]:
    record = _parse_numbered(file, number, line)
    accuracy = record.get("test_accuracy", "missing")
    if accuracy is not None and not _is_fraction(accuracy):
        raise _refused(file, "a record with 'test_accuracy' from 0 to 1, or null", number)
    return record


def _parse_numbered(file: Path, number: int, line: str) -> dict[str, Any]:
    record = _parse_json(line)
    if not isinstance(record, dict):
        raise _refused(file, "a JSON object", number)
    if type(record.get("round")) is not int or record["round"] != number:
        raise _refused(file, f"the record of round {number}, 'round' included", number)
    return record


def _is_fraction(value: object) -> bool:
    number = finite(value)
    return number is not None and 0 <= number <= 1


def _parse_json(text: str) -> Any:
    """Return the value, or None for what is not JSON, such as NaN."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError
