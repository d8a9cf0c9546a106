"""The clients' learning rate over the rounds: a tenth of it after each of some shares of them."""

from typing import Final

_FACTOR: Final = 0.1


def parse_steps(steps: str) -> list[float]:
    """Return the shares of the rounds after which the learning rate falls.

    Args:
        steps: Numbers between 0 and 1, rising, with commas between them; "" for none.

    Raises:
        ValueError: It is something else.
    """
    try:
        shares = [float(share) for share in steps.split(",")] if steps else []
    except ValueError:
        shares = [0.0]
    if shares != sorted(set(shares)) or not all(0 < share < 1 for share in shares):
        raise ValueError(
            f"learning_rate_steps={steps!r} is not allowed: it must be numbers between 0 and 1, "
            "rising, with commas between them, or empty."
        )
    return shares


def learning_rate_at(round: int, num_rounds: int, initial: float, steps: str) -> float:
    """Return eta of a round.

    Args:
        round: From 1.
        num_rounds: Number of rounds, T.
        initial: eta of the first round.
        steps: As for :func:`parse_steps`: with 0.4 of 50 rounds, round 21 is the first at a tenth.

    Raises:
        ValueError: ``steps`` is none.
    """
    taken = sum(round / num_rounds > share for share in parse_steps(steps))
    return initial * _FACTOR**taken
