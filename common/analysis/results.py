"""The runs of an experiment as two tables, small enough to be kept with the code.

A round's ``seconds`` are not among them, only a run's: without them, whoever runs the experiment
again gets the same file of rounds, bit for bit.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype
from pydantic import BaseModel, ConfigDict, Field

from common.analysis.runs import Run
from common.durable import telling, write_atomically
from common.errors import UserInputError
from common.experiment.config import Scalar, Seed, flatten, unknown_key
from common.experiment.result_files import finite, read_environment
from common.experiment.run_files import CHANGEABLE, CONFIG, ENVIRONMENT, ROUNDS
from common.shown import shown, shown_key

# Columns of the table of runs that are no keys of the configuration.
PROVENANCE: Final = ("seconds", "model_sha256", "commit", "processor", "cores")
# Keys that say where a run was made and written, not what it is.
_LEFT_OUT: Final = {"output_dir", "ray_address"}
# Float32 has more digits than any figure shows, and takes half the space; bytes are counted.
_METRIC: Final = np.float32
_BYTES: Final = np.float64


class _Seeded(BaseModel):
    """What every run must have for its place in the tables."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    seed: Seed


class _Planned(BaseModel):
    """What a run that ended early must have, so that its missing rounds can be told."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    # A row is made for each of them, whoever wrote the number.
    num_rounds: Annotated[int, Field(ge=1, le=100_000)]


# In the table of runs, what a run does not tell.
_UNKNOWN: Final = "null"


@dataclass(frozen=True, eq=False)
class Results:
    """Complete runs.

    Attributes:
        runs: One row a run; its index, "run", rises. A column for every key of the configuration,
            dotted, in alphabetical order, then ``seconds``, ``model_sha256``, ``commit``,
            ``processor`` and ``cores``. What a run has not is NaN. Rows are in the order of their
            configuration, and the seeds of an arm follow each other.
        rounds: One row a round, in the order of run and round: "run", "round" (from 1) and a column
            for every number of rounds.jsonl, float32, or float64 for bytes, which it counts
            exactly. The proximal term of the round is ``mu_t``, for ``mu`` is a key. What was not
            finite or not asked for is NaN; so is everything in the rounds that a run which ended
            early did not come to: it has as many as it should have had, and no statistic of last
            rounds takes its last ones for those.
    """

    runs: pd.DataFrame
    rounds: pd.DataFrame

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Self:
        """Return the tables of some runs, the same for every order of them.

        Raises:
            UserInputError: There is no run, or one's files do not hold what a run leaves.
        """
        if not runs:
            raise UserInputError("runs=[] is not allowed: there must be at least one.")
        table = _ordered(pd.DataFrame([_describe(run) for run in runs]))
        rounds = [_rounds(runs[place], run) for run, place in enumerate(table.index)]
        table.index = pd.RangeIndex(len(table), name="run")
        # Through the stored form, so that these tables are those that are loaded.
        return cls(_parse_runs(_format_runs(table)), _typed(pd.concat(rounds, ignore_index=True)))

    @classmethod
    def find(cls, folder: Path, name: str) -> Self | None:
        """Load what :meth:`save` wrote, or return None if nothing is there.

        Args:
            folder: As of :meth:`save`.
            name: As of :meth:`save`.

        Returns:
            The results, or None.

        Raises:
            UserInputError: As :meth:`load`, if something is there.
        """
        if not any(file.exists() for file in _files(folder, name)):
            return None
        return cls.load(folder, name)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Load what :meth:`save` wrote.

        Args:
            folder: As of :meth:`save`.
            name: As of :meth:`save`.

        Returns:
            The results, as they were saved.

        Raises:
            UserInputError: A file is missing or damaged, or they do not belong together.
        """
        runs_file, rounds_file = _files(folder, name)
        try:
            loaded = cls(_parse_runs(runs_file.read_bytes()), _parse_rounds(rounds_file))
            loaded._require_consistent()
        except Exception as error:  # Pandas and pyarrow raise a dozen types for a damaged file.
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise UserInputError(
                f"{str(runs_file)!r} with {rounds_file.name!r} is not allowed: they must be the "
                f"tables of runs and of their rounds as they were saved ({reason})."
            ) from None
        return loaded

    def save(self, folder: Path, name: str) -> None:
        """Write the runs to ``<name>.csv`` and the rounds to ``<name>.parquet``.

        The same runs give the same bytes.

        Raises:
            StorageError: A file could not be written.
        """
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
        runs_file, rounds_file = _files(folder, name)
        write_atomically(rounds_file, _format_rounds(self.rounds))
        write_atomically(runs_file, _format_runs(self.runs))

    @property
    def keys(self) -> list[str]:
        """The keys of the configuration, dotted."""
        return [column for column in self.runs.columns if column not in PROVENANCE]

    @property
    def metrics(self) -> list[str]:
        """The numbers that there are of a round."""
        return [column for column in self.rounds.columns if column not in ("run", "round")]

    @property
    def seeds(self) -> list[int]:
        """The seed of every run."""
        return self.runs["seed"].tolist()

    def select(self, /, **keys: Scalar) -> Self:
        """Return the runs whose configuration has these values; there may be none.

        Raises:
            UserInputError: A key is unknown.
        """
        chosen = np.ones(len(self.runs), dtype=bool)
        for key, value in keys.items():
            if key not in self.keys:
                raise UserInputError(unknown_key(shown_key(key), self.keys))
            chosen &= [_equal(value, stored) for stored in self.runs[key]]
        runs = self.runs[chosen]
        return type(self)(runs, self.rounds[self.rounds["run"].isin(runs.index)])

    def arm(self, keys: Mapping[str, Scalar]) -> Self:
        """Return the runs of one arm of a comparison, which differ in seed only, by seed.

        Args:
            keys: What tells the arm from the others.

        Raises:
            UserInputError: A key is unknown, no run has these values, those that have differ in
                something else that changes results, or two have the same seed.
        """
        named = ", ".join(f"{shown_key(key)}={shown(value)}" for key, value in keys.items())
        chosen = self.select(**keys)
        if chosen.runs.empty:
            known = "; ".join(f"{key} is {_values(self.runs[key])}" for key in keys)
            raise UserInputError(
                f"{named or 'an arm'} is not allowed: there must be such a run ({known})."
            )
        for key in self.keys:
            differs = chosen.runs[key].nunique(dropna=False) > 1
            if key != "seed" and key not in CHANGEABLE and differs:
                raise UserInputError(
                    f"{named or 'an arm without keys'} is not allowed: an arm's runs must differ "
                    f"in seed only, but {key} is {_values(chosen.runs[key])}."
                )
        twice = chosen.runs["seed"][chosen.runs["seed"].duplicated()].tolist()
        if twice:
            raise UserInputError(
                f"{named or 'an arm'} is not allowed: it must have one run of a seed, but has "
                f"several of seed {twice[0]}."
            )
        return chosen

    def curves(self, metric: str) -> NDArray[np.float64]:
        """Return a number of every round, shape [runs, rounds], in the order of the runs.

        Raises:
            UserInputError: There is no such number, no run, or runs differ in length.
        """
        if metric not in self.metrics:
            raise UserInputError(
                f"metric={shown(metric)} is not allowed: it must be one of "
                f"{', '.join(self.metrics)}."
            )
        lengths = sorted(set(self.rounds.groupby("run").size()))
        if len(lengths) != 1:
            raise UserInputError(
                f"runs of {shown(lengths)} rounds are not allowed here: there must be at least "
                "one run, and all must have the same number of rounds."
            )
        return self.rounds[metric].to_numpy(dtype=np.float64).reshape(-1, lengths[0])

    def _require_consistent(self) -> None:
        """Raise a ValueError if these are not the tables that :meth:`of` makes."""
        index, rounds = self.runs.index, self.rounds
        counted = rounds.groupby("run").cumcount() + 1
        consistent = (
            {*PROVENANCE, "seed"} <= set(self.runs.columns)
            and index.is_unique
            and index.is_monotonic_increasing
            and rounds["run"].is_monotonic_increasing
            and set(rounds["run"]) == set(index)
            and (rounds["round"] == counted).all()
            and all(dtype in (_METRIC, _BYTES) for dtype in rounds[self.metrics].dtypes)
        )
        if not consistent:
            raise ValueError


def _describe(run: Run) -> dict[str, Any]:
    """Return the row of a run: its configuration, and where it comes from."""
    run.config_as(_Seeded)
    row: dict[str, Any] = {}
    for key, value in flatten(run.config).items():
        if not _is_name(key) or not _is_plain(value):
            raise UserInputError(
                f"{shown_key(key)}={shown(value)} in {str(run.folder / CONFIG)!r} is not allowed: "
                "it must be a printable text, a truth value or a number of at most 64 bits, and "
                f"its name none of run, {', '.join(PROVENANCE)}."
            )
        row[key] = value
    file = run.folder / ENVIRONMENT
    environment = read_environment(file) if file.exists() else {}
    origin = {
        "seconds": finite(run.summary.get("seconds")),
        "model_sha256": _text(run.summary.get("model_sha256")),
        "commit": _text(environment.get("commit")),
        "processor": _text(environment.get("processor")),
        "cores": _count(environment.get("cpus")),
    }
    return {key: row[key] for key in sorted(row.keys() - _LEFT_OUT)} | origin


def _is_name(key: str) -> bool:
    return key != "" and key.isprintable() and key not in ("run", *PROVENANCE)


def _is_plain(value: object) -> bool:
    """Whether a value is the same after it was written as text and read again."""
    if isinstance(value, str):
        return value.isprintable()
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 < value < 2**63 else None


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Put the runs in the order of their configuration, then seed, and columns in theirs."""
    keys = sorted(table.columns.difference([*PROVENANCE]))
    arm = [key for key in keys if key != "seed" and key not in CHANGEABLE]
    others = [key for key in keys if key in CHANGEABLE]
    return table[[*keys, *PROVENANCE]].sort_values(
        [*arm, "seed", *others, *PROVENANCE],
        # Values of several types have no order.
        key=lambda column: column if is_numeric_dtype(column) else column.astype(str),
    )


def _rounds(run: Run, number: int) -> pd.DataFrame:
    """Return the rounds of a run, with the columns that hold numbers, and the run's number."""
    numbers = {
        key
        for record in run.rounds
        for key, value in record.items()
        if value is None or finite(value) is not None
    }
    missing = _num_missing(run)
    last_round = len(run.rounds) + missing
    columns: dict[str, NDArray[Any]] = {
        "run": np.full(last_round, number),
        "round": np.arange(1, last_round + 1),
    }
    for key in sorted(numbers - {"round", "seconds"}):
        if not _is_name(key) or key == "mu_t":
            raise UserInputError(
                f"{shown_key(key)} in {str(run.folder / ROUNDS)!r} is not allowed: the name of "
                f"a number must be printable and none of run, mu_t, {', '.join(PROVENANCE)}."
            )
        curve = np.pad(run.curve(key), (0, missing), constant_values=np.nan)
        columns["mu_t" if key == "mu" else key] = curve
    return pd.DataFrame(columns)


def _num_missing(run: Run) -> int:
    """Return how many rounds a run that ended early did not come to."""
    if "stopped" not in run.summary:
        return 0
    return max(0, run.config_as(_Planned).num_rounds - len(run.rounds))


def _typed(rounds: pd.DataFrame) -> pd.DataFrame:
    """Give every column its type, and put them in order."""
    metrics = sorted(rounds.columns.difference(["run", "round"]))
    types: dict[str, Any] = {"run": np.int32, "round": np.int32}
    for metric in metrics:
        types[metric] = _BYTES if metric.startswith("bytes_") else _METRIC
    with np.errstate(over="ignore"):  # A loss beyond float32 is inf, as good as any such number.
        return rounds[["run", "round", *metrics]].astype(types)


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.csv", folder / f"{name}.parquet"


def _format_runs(runs: pd.DataFrame) -> bytes:
    return runs.to_csv(lineterminator="\n", na_rep=_UNKNOWN).encode()


def _parse_runs(content: bytes) -> pd.DataFrame:
    return pd.read_csv(
        io.BytesIO(content),
        index_col="run",
        dtype={"model_sha256": str, "commit": str, "processor": str, "seconds": float},
        float_precision="round_trip",
        # "None", "NA" and nothing are texts.
        keep_default_na=False,
        na_values=[_UNKNOWN],
    )


def _format_rounds(rounds: pd.DataFrame) -> bytes:
    # Metrics hardly repeat: split into bytes, zstd takes a third off them. Others repeat a lot.
    metrics = [name for name, dtype in rounds.dtypes.items() if dtype == _METRIC]
    # Pandas' own metadata would tell its version.
    table = pa.Table.from_pandas(rounds, preserve_index=False).replace_schema_metadata(None)
    file = io.BytesIO()
    pq.write_table(
        table,
        file,
        compression="zstd",
        use_dictionary=[name for name in rounds.columns if name not in metrics],
        use_byte_stream_split=metrics,
        write_page_checksum=True,
    )
    return file.getvalue()


def _parse_rounds(file: Path) -> pd.DataFrame:
    with file.open("rb") as stream:
        table = pq.ParquetFile(stream, page_checksum_verification=True).read()
    rounds: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return rounds


def _equal(value: Scalar, stored: object) -> bool:
    """Whether two values are the same; True is not 1, but 1 is 1.0."""
    return isinstance(value, bool) == isinstance(stored, bool) and value == stored


def _values(column: "pd.Series[Any]") -> str:
    """Name the values of a key."""
    values = ["missing" if pd.isna(value) else shown(value) for value in column.drop_duplicates()]
    return " or ".join(values[:5]) + (" ..." if len(values) > 5 else "")
