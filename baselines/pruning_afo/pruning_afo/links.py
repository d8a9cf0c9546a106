"""How long a round's bytes take on simulated links: phones, homes, a data centre.

A link says what the median client has; others are slower or faster by a log-normal factor, so that
a synchronous round has stragglers. Training takes no time here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from common.randomness import Purpose, generator

_BITS: Final = 8  # In a byte.


@dataclass(frozen=True)
class Link:
    """What clients of one kind are connected by.

    Attributes:
        name: What a reader is told.
        metric: Name of its seconds in a round's record.
        down: Bit/s from the server to the client of median bandwidth.
        up: Bit/s from that client to the server.
        latency: Seconds before the first byte of a transfer comes: a round trip, the same for all.
        spread: Standard deviation of the logarithm of bandwidth over clients.
    """

    name: str
    metric: str
    down: float
    up: float
    latency: float
    spread: float


# Medians of the U.S. at the end of 2022, cellular and fixed: Ookla's Speedtest Global Index as told
# in "Final 2022 Statistics from Ookla", https://potsandpansbyccg.com/tag/ookla/?noamp=mobile.
# The spreads are assumed. With 1, a tenth of the clients has less than 28 % of the median. It is
# not too wide for phones: by https://potsandpansbyccg.com/tag/ookla/, at most 79.7 % of a carrier's
# samples had 5 Mbit/s down and 1 up where, by
# https://freestatefoundation.blogspot.com/2020/07/ookla-reports-speed-increases-for-us.html, the
# medians were 29.0 and 5.74: log-normal, that is a spread of 1.3 at least.
MOBILE: Final = Link("mobile", "seconds_mobile", 78.9e6, 9.3e6, 0.031, 1.0)
HOME: Final = Link("home", "seconds_home", 193.7e6, 22.6e6, 0.014, 1.0)
# One flow between two instances of a region, in both directions:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-network-bandwidth.html.
# Latency and spread are assumed.
DATA_CENTRE: Final = Link("data centre", "seconds_data_centre", 5e9, 5e9, 0.0005, 0.1)
LINKS: Final = (MOBILE, HOME, DATA_CENTRE)


class Transfers(NamedTuple):
    """What a client's transfers of a round take.

    Attributes:
        down: Seconds until the client has what it is sent.
        up: Seconds until the server has the reply; those of training are not counted.
    """

    down: float
    up: float

    @property
    def seconds(self) -> float:
        """Of both, one after the other."""
        return self.down + self.up


def relative_bandwidth(link: Link, seed: int, client: int) -> float:
    """Return a client's bandwidth, as a multiple of the median client's in both directions.

    exp(spread z), with z a standard normal draw of the client's own. It is the same in all rounds
    and arms of a seed, and z is the same on all links: a slow client is slow on each.

    Args:
        link: Has the spread.
        seed: That of the run.
        client: Partition id.
    """
    z = float(generator(seed, Purpose.BANDWIDTH, client=client).standard_normal())
    return math.exp(link.spread * z)


def transfers(link: Link, relative: float, bytes_up: float, bytes_down: float) -> Transfers:
    """Return what a client's transfers take: latency + bits / bandwidth in each direction.

    A direction without bytes takes no time: nobody waits for a reply that does not come.

    Args:
        link: What the client is connected by.
        relative: Its bandwidth, as a multiple of the median client's.
        bytes_up: What it sends.
        bytes_down: What it is sent.
    """

    def seconds(num_bytes: float, bandwidth: float) -> float:
        return link.latency + _BITS * num_bytes / (relative * bandwidth) if num_bytes else 0.0

    return Transfers(seconds(bytes_down, link.down), seconds(bytes_up, link.up))


def slowest_client(
    link: Link,
    seed: int,
    clients: Sequence[int],
    bytes_up: Sequence[int],
    bytes_down: Sequence[int],
) -> tuple[int, Transfers]:
    """Return the client that a synchronous round waits for, and what its transfers take.

    Args:
        link: What all clients are connected by.
        seed: That of the run.
        clients: Partition ids of the cohort, at least one.
        bytes_up: What each of them sent, parallel to ``clients``.
        bytes_down: What each of them was sent.
    """
    found = [
        (client, transfers(link, relative_bandwidth(link, seed, client), up, down))
        for client, up, down in zip(clients, bytes_up, bytes_down, strict=True)
    ]
    return max(found, key=lambda each: each[1].seconds)


def round_seconds(
    link: Link,
    seed: int,
    clients: Sequence[int],
    bytes_up: Sequence[int],
    bytes_down: Sequence[int],
) -> float:
    """Return how long the transfers of a synchronous round take: those of its slowest client.

    The arguments are those of :func:`slowest_client`; a round without clients takes no time.
    """
    if not clients:
        return 0.0
    return slowest_client(link, seed, clients, bytes_up, bytes_down)[1].seconds
