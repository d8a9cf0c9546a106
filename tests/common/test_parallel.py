import threading
import time

import pytest

from common.parallel import map_in_order


def test_results_come_in_the_order_of_the_items():
    def slow_if_even(number):
        time.sleep(0.01 * (number % 2 == 0))
        return number * number

    assert list(map_in_order(slow_if_even, range(20))) == [n * n for n in range(20)]


def test_no_more_is_taken_than_there_is_work_for():
    taken = []

    def numbers():
        for number in range(10_000):
            taken.append(number)
            yield number

    results = map_in_order(lambda number: number, numbers())
    assert next(results) == 0
    assert len(taken) < 1_000


def test_it_uses_several_threads(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    meeting = threading.Barrier(2, timeout=10)
    assert list(map_in_order(lambda number: meeting.wait() >= 0, range(4))) == [True] * 4


def test_what_a_function_raises_ends_it():
    def picky(number):
        if number == 3:
            raise ValueError("three")
        return number

    results = map_in_order(picky, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
