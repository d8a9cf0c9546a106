"""How many workers a pool has, and what it refuses; test_grid.py has a real Ray."""

import os

import pytest
import ray
import torch

from common.engine import worker, worker_pool
from common.engine.worker import Worker
from common.engine.worker_pool import WorkerPool
from common.errors import UserInputError


@pytest.fixture
def ray_of(monkeypatch):
    """Pretend that a Ray with these machines runs; the list tells which one was asked for."""
    addresses = []

    def start(*machines):
        nodes = [{"Alive": True, "Resources": resources} for resources in machines]
        dead = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
        monkeypatch.setattr(worker_pool, "connect", addresses.append)
        monkeypatch.setattr(worker_pool, "share_arrays", lambda: None)
        monkeypatch.setattr(ray, "nodes", lambda: [*nodes, dead])
        return addresses

    worker_pool.worker_pool.cache_clear()
    yield start
    worker_pool.worker_pool.cache_clear()


@pytest.mark.parametrize(
    ("cpus", "num_cpus", "workers"),
    [(2, 1, 2), (2, 2, 1), (2, 0.5, 4), (1, 0.1, 10), (2, 0.75, 2), (16, 1, 16), (14, 0.56, 25)],
)
def test_a_fraction_of_a_cpu_makes_for_more_workers(ray_of, cpus, num_cpus, workers):
    ray_of({"CPU": float(cpus)})
    assert WorkerPool(num_cpus, 0.0, "").size == workers


@pytest.mark.parametrize(
    ("num_gpus", "workers"), [(0.25, 8), (0.5, 4), (0.4, 4), (0.6, 2), (1, 2), (2, 1), (0, 16)]
)
def test_the_scarcer_resource_decides(ray_of, num_gpus, workers):
    ray_of({"CPU": 16.0, "GPU": 2.0})
    assert WorkerPool(1.0, num_gpus, "").size == workers


def test_no_worker_is_spread_over_two_machines(ray_of):
    """Of three CPUs on each of two machines, a worker of two CPUs can use two."""
    ray_of({"CPU": 3.0, "GPU": 1.0}, {"CPU": 3.0})
    assert WorkerPool(2.0, 0.0, "auto").size == 2
    assert WorkerPool(1.0, 0.0, "auto").size == 6
    assert WorkerPool(1.0, 0.5, "auto").size == 2
    with pytest.raises(UserInputError, match="at most 3, what one machine has"):
        WorkerPool(4.0, 0.0, "auto")


def test_cpus_here_and_gpus_there_are_no_worker(ray_of):
    ray_of({"CPU": 4.0}, {"CPU": 1.0, "GPU": 1.0})
    with pytest.raises(UserInputError, match=r"num_cpus=2.0 .*num_gpus=0.5: one machine must"):
        WorkerPool(2.0, 0.5, "auto")


@pytest.mark.parametrize(
    ("num_cpus", "num_gpus", "problem"),
    [
        (3.0, 0.0, r"client_resources\.num_cpus=3\.0 .*at most 2, "),
        (1.0, 0.25, r"client_resources\.num_gpus=0\.25 .*at most 0, "),
    ],
)
def test_more_than_there_is_is_refused(ray_of, num_cpus, num_gpus, problem):
    ray_of({"CPU": 2.0})
    with pytest.raises(UserInputError, match=problem):
        WorkerPool(num_cpus, num_gpus, "")


def test_a_pool_is_kept_as_long_as_nothing_else_is_asked_for(ray_of):
    addresses = ray_of({"CPU": 2.0})
    first = worker_pool.worker_pool(1.0, 0.0, "")
    assert worker_pool.worker_pool(1.0, 0.0, "") is first
    assert addresses == [""]
    other = worker_pool.worker_pool(2.0, 0.0, "")
    assert other is not first
    # Ray was started anew for the other one, so the first is gone.
    assert worker_pool.worker_pool(1.0, 0.0, "") is not first
    assert addresses == ["", "", ""]


def test_a_pool_that_was_refused_has_ended_the_one_before(ray_of):
    addresses = ray_of({"CPU": 2.0})
    first = worker_pool.worker_pool(1.0, 0.0, "")
    with pytest.raises(UserInputError):
        worker_pool.worker_pool(3.0, 0.0, "")
    assert worker_pool.worker_pool(1.0, 0.0, "") is not first
    assert addresses == ["", "", ""]


@pytest.mark.parametrize("address", ["127.0.0.1:9", "no such place"])
def test_an_address_where_no_cluster_is_is_refused(monkeypatch, address):
    def refuse(**options):
        assert options["address"] == address
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UserInputError, match=rf"ray_address='{address}' .*nobody there"):
        WorkerPool(1.0, 0.0, address)


def test_a_worker_is_started_when_it_is_wanted_and_stays(ray_of, monkeypatch):
    started = []

    class Actor:
        @staticmethod
        def remote(environment):
            started.append(environment)
            return len(started)

    ray_of({"CPU": 3.0})
    monkeypatch.setattr(ray, "remote", lambda **resources: lambda cls: Actor)
    monkeypatch.setenv("FLOWERBED_DATA", "/data")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    pool = WorkerPool(1.0, 0.0, "")
    assert started == []
    assert [list(pool.workers(wanted)) for wanted in (1, 2, 1, 9)] == [[1], [1, 2], [1], [1, 2, 3]]
    assert all(environment["FLOWERBED_DATA"] == "/data" for environment in started)
    assert all("XDG_CACHE_HOME" not in environment for environment in started)


def test_a_worker_has_the_variables_of_the_server_and_one_thread(monkeypatch):
    monkeypatch.setattr(worker, "share_arrays", lambda: None)
    monkeypatch.setenv("FLOWERBED_DATA", "/elsewhere")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Worker({"FLOWERBED_DATA": "/data"})
        assert os.environ["FLOWERBED_DATA"] == "/data"
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
