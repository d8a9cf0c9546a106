import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruning_afo.links import (
    DATA_CENTRE,
    HOME,
    LINKS,
    MOBILE,
    Link,
    relative_bandwidth,
    round_seconds,
    slowest_client,
    transfers,
)

from common.randomness import Purpose, generator

# 8 bit/s down and 2 up: a second a byte, and four.
SLOW = Link("slow", "seconds_slow", 8.0, 2.0, 0.5, 0.0)
SPREAD = Link("spread", "seconds_spread", 8.0, 2.0, 0.5, 1.0)

links = st.sampled_from(LINKS)
seeds = st.integers(0, 2**32 - 1)
num_bytes = st.integers(0, 10**9)
traffic = st.lists(st.tuples(num_bytes, num_bytes), min_size=1, max_size=6)


def test_a_transfer_takes_latency_and_bits_over_bandwidth():
    assert transfers(SLOW, 1.0, bytes_up=3, bytes_down=10) == (0.5 + 10, 0.5 + 12)
    assert transfers(SLOW, 2.0, bytes_up=3, bytes_down=10) == (0.5 + 5, 0.5 + 6)
    assert transfers(SLOW, 1.0, bytes_up=3, bytes_down=10).seconds == 23


def test_nobody_waits_for_what_is_not_sent():
    assert transfers(SLOW, 1.0, bytes_up=0, bytes_down=10) == (10.5, 0)
    assert transfers(SLOW, 1.0, bytes_up=0, bytes_down=0) == (0, 0)


def test_a_dense_resnet18_on_the_median_clients_of_the_links():
    dense = 4 * 11_181_642
    bits = 8 * dense
    for link, down, up, latency in (
        (MOBILE, 78.9e6, 9.3e6, 0.031),
        (HOME, 193.7e6, 22.6e6, 0.014),
        (DATA_CENTRE, 5e9, 5e9, 0.0005),
    ):
        seconds = transfers(link, 1.0, dense, dense).seconds
        assert seconds == pytest.approx(2 * latency + bits / down + bits / up)


def test_a_round_waits_for_its_slowest_client():
    # Without spread, whoever moves most: 1 + 4 x 2 bytes and two latencies.
    clients, up, down = [3, 5, 8], [1, 2, 1], [4, 1, 2]
    assert slowest_client(SLOW, 0, clients, up, down) == (5, (1.5, 8.5))
    assert round_seconds(SLOW, 0, clients, up, down) == 10


def test_with_equal_bytes_the_client_of_the_least_bandwidth_is_the_slowest():
    clients = list(range(8))
    drawn = [relative_bandwidth(SPREAD, 7, client) for client in clients]
    slowest, taken = slowest_client(SPREAD, 7, clients, 8 * [3], 8 * [10])
    assert slowest == drawn.index(min(drawn))
    assert taken.seconds == pytest.approx(1 + (10 + 12) / min(drawn))


def test_a_round_without_clients_takes_no_time():
    assert round_seconds(MOBILE, 0, [], [], []) == 0


def test_bytes_must_be_those_of_the_clients():
    with pytest.raises(ValueError, match="shorter"):
        round_seconds(MOBILE, 0, [0, 1], [1], [1, 1])


@given(link=links, seed=seeds, client=st.integers(0, 1000))
def test_bandwidth_is_a_draw_of_the_client_alone_that_the_link_spreads(link, seed, client):
    z = generator(seed, Purpose.BANDWIDTH, round=0, client=client).standard_normal()
    assert math.log(relative_bandwidth(link, seed, client)) == pytest.approx(link.spread * z)


def test_the_median_client_has_the_bandwidth_of_the_link_and_others_are_spread_around_it():
    drawn = [math.log(relative_bandwidth(MOBILE, 0, client)) for client in range(2000)]
    assert median(drawn) == pytest.approx(0, abs=0.1)
    assert np.std(drawn) == pytest.approx(MOBILE.spread, rel=0.05)


@given(link=links, seed=seeds, moved=traffic, others=st.lists(num_bytes, max_size=3))
def test_a_client_s_time_does_not_depend_on_who_else_is_in_the_round(link, seed, moved, others):
    """Nor on the arm: bytes aside, nothing of it is an argument."""
    clients = list(range(len(moved)))
    up, down = (list(column) for column in zip(*moved, strict=True))
    alone = [
        round_seconds(link, seed, [k], [u], [d]) for k, u, d in zip(clients, up, down, strict=True)
    ]
    assert round_seconds(link, seed, clients, up, down) == max(alone)
    more = [*clients, *range(100, 100 + len(others))]
    longer = round_seconds(link, seed, more, up + others, down + others)
    assert longer >= max(alone)
