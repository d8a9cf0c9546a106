"""The keys that tell the runs of a comparison apart, beside the seed, and what they are called.

A baseline derives a class of each, whose fields are keys of its configuration.
"""

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict


class ComparedKeys(BaseModel, ABC):
    """Some keys of a configuration, checked; others are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    @property
    @abstractmethod
    def name(self) -> str:
        """What a reader is told of them."""

    @property
    @abstractmethod
    def order(self) -> tuple[str | float, ...]:
        """What to sort by."""


class PanelKeys(ComparedKeys):
    """The keys that tell the panels of a figure apart; the name is the title of a single panel."""

    @property
    @abstractmethod
    def facts(self) -> tuple[str, ...]:
        """The keys in words, of which the titles of several panels tell those that differ.

        As many for every panel, in the same order; empty where a key has no meaning.
        """


class ArmKeys(ComparedKeys):
    """The keys that tell the methods of a panel apart."""

    @property
    def is_reference(self) -> bool:
        """Whether it is no method, but what methods are compared with."""
        return False
