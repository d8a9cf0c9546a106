"""The typed schema that both front ends, Hydra and `flwr run`, check a configuration against.

A baseline keeps every key with its default in the table ``[tool.flwr.app.config]`` of its
pyproject.toml, and nowhere else; the schema has no defaults. Flower flattens nested tables to
dotted keys (``client_resources.num_cpus``), Hydra nests them: both forms are understood.
"""

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.client.work import Precision
from common.errors import UserInputError
from common.problems import first_problem
from common.shown import shown, shown_key

Scalar = bool | int | float | str
Probability = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
# SeedSequence takes a larger seed as two words, which would shift purpose, round and client.
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class ClientResources(BaseModel):
    """What one worker of the Ray engine reserves; fractions share a core or a GPU.

    Attributes:
        num_cpus: CPU cores, > 0.
        num_gpus: GPUs: from 0 to 1, or a whole number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    num_cpus: PositiveFloat
    num_gpus: NonNegativeFloat

    @model_validator(mode="after")
    def _gpus_are_a_share_or_whole(self) -> Self:
        """Ray gives a worker a share of one card, or whole cards."""
        if self.num_gpus > 1 and self.num_gpus % 1 != 0:
            raise ValueError(
                f"client_resources.num_gpus={self.num_gpus} is not allowed: it must be at most 1 "
                "or a whole number."
            )
        return self


class ExperimentConfig(BaseModel):
    """Keys that every baseline has. A baseline's own schema derives from this one.

    Attributes:
        num_clients: Number of clients, N.
        clients_per_round: K, the cohort of a round, at most ``num_clients``.
        num_rounds: Number of rounds, T.
        num_epochs: E, the local epochs.
        batch_size: B, the examples of a local step.
        learning_rate: eta of the clients, > 0.
        precision: What a client's network computes in; its weights are float32.
        seed: Of all that is drawn, from 0 to 2**32 - 1.
        engine: "inline", in the server's process, or "ray".
        client_resources: What a worker of the engine "ray" reserves.
        ray_address: Empty for a Ray of the run's own; "auto" or an address for one that runs.
        server_device: Where the server evaluates: "cpu", "cuda" or "cuda:0" and so on.
        client_timeout: Seconds that a client's training may take, > 0; inf for no limit, which it
            must be with the engine "inline".
        on_client_failure: "end" the run, or "leave_out" the client of the round's mean.
        checkpoint_every: Rounds from one checkpoint to the next.
        output_dir: Where the run's files are; empty for a folder of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    num_clients: PositiveInt
    clients_per_round: PositiveInt
    num_rounds: PositiveInt
    num_epochs: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    precision: Precision
    seed: Seed
    engine: Literal["inline", "ray"]
    client_resources: ClientResources
    ray_address: str
    server_device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")]
    client_timeout: Annotated[float, Field(gt=0)]
    on_client_failure: Literal["end", "leave_out"]
    checkpoint_every: PositiveInt
    output_dir: str

    @model_validator(mode="after")
    def _cohort_fits(self) -> Self:
        if self.clients_per_round > self.num_clients:
            raise ValueError(
                f"clients_per_round={self.clients_per_round} is not allowed: it must be at most "
                f"num_clients, {self.num_clients}."
            )
        return self

    @model_validator(mode="after")
    def _timeout_fits_engine(self) -> Self:
        if self.engine == "inline" and self.client_timeout < math.inf:
            raise ValueError(
                f"client_timeout={self.client_timeout} is not allowed with engine='inline': it "
                "must be inf, for a client in the server's own process cannot be stopped."
            )
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Check a configuration, nested or with dotted keys.

        ``repeat_num`` is no key of its own: repetition r of seed s is the run with seed s + r,
        so that the arms of a sweep meet the same seeds.

        Args:
            values: Of every key; there are no defaults.

        Returns:
            The configuration, checked.

        Raises:
            UserInputError: A key is unknown, missing, of the wrong type or out of range.
        """
        nested = nest(values)
        _add_repetition_to_seed(nested)
        try:
            config: Self = cls.model_validate(nested)
        except ValidationError as error:
            raise UserInputError(_first_problem(error, cls)) from None
        return config

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, Scalar]) -> Self:
        """Check the flat configuration of a Flower ``Context``; repeated calls are free.

        Returns:
            The configuration, checked.

        Raises:
            UserInputError: As :meth:`parse`.
        """
        items = frozenset((key, type(value), value) for key, value in run_config.items())
        config: Self = _parse_flat(cls, items)
        return config

    def to_run_config(self) -> dict[str, Scalar]:
        """Return the flat form with dotted keys that a Flower ``Context`` carries."""
        return flatten(self.model_dump())


Config = TypeVar("Config", bound=ExperimentConfig)


# Types are part of the key because 1, 1.0 and True are equal but not all allowed.
@lru_cache(maxsize=64)
def _parse_flat(cls: type[Config], items: frozenset[tuple[str, type, Scalar]]) -> Config:
    return cls.parse({key: value for key, _, value in items})


def read_default_config(pyproject: Path) -> dict[str, Any]:
    """Return the table ``[tool.flwr.app.config]`` of a baseline's pyproject.toml, nested.

    Raises:
        UserInputError: A key is a value in one place and a table in another.
    """
    with pyproject.open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["tool"]["flwr"]["app"]["config"]
    return nest(table)


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested dictionaries; what is nested already stays so.

    Returns:
        New dictionaries, nested.

    Raises:
        UserInputError: A key is a value in one place and a table in another.
    """
    nested: dict[str, Any] = {}
    for dotted, value in values.items():
        *parents, leaf = str(dotted).split(".")
        table = nested
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UserInputError(
                    f"{shown_key(parent)}={shown(table)} is not allowed beside "
                    f"{shown_key(str(dotted))}: it must be a table or a value."
                )
        table[leaf] = nest(value) if isinstance(value, Mapping) else value
    return nested


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Turn nested dictionaries into dotted keys, the inverse of :func:`nest`."""
    flat: dict[str, Scalar] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _add_repetition_to_seed(values: dict[str, Any]) -> None:
    if "repeat_num" not in values:
        return
    repetition = values.pop("repeat_num")
    if type(repetition) is not int or repetition < 0:
        raise UserInputError(
            f"repeat_num={shown(repetition)} is not allowed: it must be a whole number from 0."
        )
    if type(values.get("seed")) is int:  # A seed of the wrong type is the schema's to report.
        values["seed"] += repetition


def _first_problem(error: ValidationError, schema: type[BaseModel]) -> str:
    """Say the first problem of a configuration in one sentence."""
    problem = first_problem(error)
    if problem.kind == "extra_forbidden":
        return unknown_key(problem.key, flat_keys(schema))
    return str(problem)


def unknown_key(key: str, keys: Iterable[str]) -> str:
    """Say in one sentence that a key is unknown, and what was probably meant."""
    known = sorted(keys)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(known)}."
    return f"{key} is not a key of this experiment: {hint}"


def flat_keys(schema: type[BaseModel], prefix: str = "") -> list[str]:
    """Return every key of a schema, dotted."""
    keys: list[str] = []
    for name, field in schema.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys += flat_keys(annotation, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys
