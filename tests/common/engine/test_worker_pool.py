"""How many workers a pool has, and what it refuses; test_grid.py has a real Ray."""

import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import ray
import torch
from ray.exceptions import RayActorError

from common.engine import worker, worker_pool
from common.engine.worker import Worker
from common.engine.worker_pool import WorkerPool
from common.errors import ClientFailedError, UserInputError


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


class FakeRay:
    """Machines of one CPU, a worker each; a worker runs when it is told to."""

    def __init__(self, num_machines):
        self.num_machines = num_machines
        self.environments = []
        self.running = set()
        self.failed = set()
        self.killed = []
        self.waits = []

    def remote(self, **resources):
        return lambda cls: SimpleNamespace(remote=self.start)

    def start(self, environment):
        self.environments.append(environment)
        number = len(self.environments)
        return FakeWorker(number, SimpleNamespace(remote=lambda: number))

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1.0}}] * self.num_machines

    def wait(self, references, timeout=None):
        if timeout:
            self.waits.append(timeout)
            if len(self.waits) == 3:
                self.running.update(references)
        settled = self.running | self.failed
        ready = [reference for reference in references if reference in settled][:1]
        return ready, [reference for reference in references if reference not in ready]

    def get(self, reference):
        if reference in self.failed:
            raise RayActorError

    def kill(self, worker):
        self.killed.append(worker.number)


@dataclass(frozen=True)
class FakeWorker:
    number: int
    __ray_ready__: object = field(compare=False)


@pytest.fixture
def fake_ray(monkeypatch):
    fake = FakeRay(3)
    monkeypatch.setattr(worker_pool, "connect", lambda address: None)
    monkeypatch.setattr(worker_pool, "share_arrays", lambda: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    for name in ("remote", "nodes", "wait", "get", "kill"):
        monkeypatch.setattr(ray, name, getattr(fake, name))
    return fake


def numbers(workers):
    return [worker.number for worker in workers]


def test_a_worker_is_started_when_it_is_wanted_and_stays(fake_ray, monkeypatch):
    monkeypatch.setenv("FLOWERBED_DATA", "/data")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    pool = WorkerPool(1.0, 0.0, "")
    assert fake_ray.environments == []
    found = [numbers(pool.workers(wanted)) for wanted in (1, 2, 1, 9)]
    assert found == [[1], [1, 2], [1], [1, 2, 3]]
    assert all(environment["FLOWERBED_DATA"] == "/data" for environment in fake_ray.environments)
    assert all("XDG_CACHE_HOME" not in environment for environment in fake_ray.environments)


def test_a_worker_is_replaced_and_the_new_one_left_out_until_it_runs(fake_ray):
    pool = WorkerPool(1.0, 0.0, "")
    first, *_ = pool.workers(3)
    new = pool.replace(first)
    assert new.number == 4
    assert fake_ray.killed == [1]
    assert numbers(pool.workers(3)) == [2, 3]
    fake_ray.running.add(4)
    assert numbers(pool.workers(3)) == [2, 3, 4]


def test_a_new_worker_is_waited_for_if_there_are_no_others(fake_ray):
    pool = WorkerPool(1.0, 0.0, "")
    (first,) = pool.workers(1)
    fake_ray.running.add(1)
    new = pool.replace(first)
    assert numbers(pool.workers(1)) == [new.number] == [2]


def test_a_worker_that_failed_to_start_is_replaced_but_not_for_ever(fake_ray):
    pool = WorkerPool(1.0, 0.0, "")
    first, *_ = pool.workers(3)
    fake_ray.running |= {1, 2, 3}
    pool.replace(first)
    for number in range(4, 10):  # As many as there are places, and three.
        fake_ray.failed.add(number)
        assert numbers(pool.workers(3)) == [2, 3]
    fake_ray.failed.add(10)
    with pytest.raises(ClientFailedError, match=r"^No worker starts any more: 7 in a row "):
        pool.workers(3)


def test_no_more_workers_than_the_machines_that_are_left_hold(fake_ray):
    pool = WorkerPool(1.0, 0.0, "")
    first, second, third = pool.workers(3)
    fake_ray.num_machines = 2
    assert pool.replace(first) in (second, third)
    assert numbers(pool.workers(3)) == [2, 3]
    fake_ray.num_machines = 0
    problem = (
        r"^No machine of the Ray cluster is left that can hold a worker with "
        r"client_resources\.num_cpus=1\.0 and client_resources\.num_gpus=0\.0\.$"
    )
    for _ in range(2):  # Also for the next run.
        with pytest.raises(ClientFailedError, match=problem):
            pool.replace(second)
        with pytest.raises(ClientFailedError, match=problem):
            pool.workers(3)
    fake_ray.num_machines = 1  # It is back.
    assert len(pool.workers(3)) == 1


def test_a_worker_is_discarded_once(fake_ray):
    pool = WorkerPool(1.0, 0.0, "")
    first, _ = pool.workers(2)
    pool.discard(first)
    pool.discard(first)
    assert fake_ray.killed == [1]
    assert numbers(pool.workers(2)) == [2, 3]


def test_who_waits_for_a_busy_cluster_is_told_so_once(fake_ray, capsys):
    pool = WorkerPool(1.0, 0.0, "")
    pool.workers(2)
    capsys.readouterr()
    pool.wait_for_a_worker()
    assert fake_ray.waits == [30, 30, 30]
    assert capsys.readouterr().out == (
        "No worker has started for 30 s: waiting for free CPUs or GPUs of the cluster.\n"
    )
    pool.wait_for_a_worker()
    assert capsys.readouterr().out == ""


def test_nobody_waits_for_a_cluster_that_is_gone(fake_ray):
    pool = WorkerPool(1.0, 0.0, "")
    pool.workers(2)
    fake_ray.num_machines = 0
    with pytest.raises(ClientFailedError, match=r"^No machine "):
        pool.wait_for_a_worker()


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
