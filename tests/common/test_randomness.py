import random
from contextlib import suppress
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.randomness import Purpose, generator, torch_seeded

addresses = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from(Purpose),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)


def numpy_draw(address):
    return generator(*address).integers(0, 2**63, 4).tolist()


def torch_draw(address):
    with torch_seeded(*address):
        return torch.randint(0, 2**62, (4,)).tolist()


draws = pytest.mark.parametrize("draw", [numpy_draw, torch_draw])


@draws
@given(address=addresses)
def test_same_address_same_stream(draw, address):
    assert draw(address) == draw(address)


@draws
@given(addresses=st.lists(addresses, min_size=2, max_size=2, unique=True))
def test_any_two_addresses_have_different_streams(draw, addresses):
    first, second = addresses
    assert draw(first) != draw(second)


@draws
def test_neighbours_in_every_coordinate_differ(draw):
    address = (1, Purpose.DATA, 1, 1)
    neighbours = [
        address,
        (2, Purpose.DATA, 1, 1),
        (1, Purpose.PARTITION, 1, 1),
        (1, Purpose.DATA, 2, 1),
        (1, Purpose.DATA, 1, 2),
        (0, Purpose.DATA, 0, 0),
        (0, Purpose.DATA, 0, 1),
        (0, Purpose.DATA, 1, 0),
        (1, Purpose.DATA, 0, 0),
    ]
    assert all(draw(one) != draw(other) for one, other in combinations(neighbours, 2))


def test_round_and_client_are_zero_unless_given():
    assert numpy_draw((3, Purpose.DATA)) == numpy_draw((3, Purpose.DATA, 0, 0))
    assert torch_draw((3, Purpose.DATA)) == torch_draw((3, Purpose.DATA, 0, 0))


def test_stream_is_that_of_the_seed_sequence_that_the_design_names():
    expected = np.random.default_rng(np.random.SeedSequence([5, 7, 11, 13])).random(3)
    assert generator(5, Purpose.BATCH_ORDER, round=11, client=13).random(3).tolist() == (
        expected.tolist()
    )


def test_purposes_keep_their_numbers():
    assert {purpose.name: purpose.value for purpose in Purpose} == {
        "DATA": 1,
        "PARTITION": 2,
        "INITIAL_WEIGHTS": 3,
        "COHORT": 4,
        "STRAGGLERS": 5,
        "PARTIAL_WORK": 6,
        "BATCH_ORDER": 7,
        "SHARED_MODEL": 8,
        "AUGMENTATION": 9,
        "BANDWIDTH": 10,
        "COMPRESSION": 11,
        "GRADIENT_COMPRESSION": 12,
    }


def test_torch_state_is_restored():
    torch.manual_seed(1)
    undisturbed = torch.rand(3).tolist()
    torch.manual_seed(1)
    with torch_seeded(0, Purpose.INITIAL_WEIGHTS):
        torch.rand(100)
    assert torch.rand(3).tolist() == undisturbed


def test_torch_state_is_restored_after_an_error():
    before = torch.get_rng_state()
    with suppress(ZeroDivisionError), torch_seeded(0, Purpose.INITIAL_WEIGHTS):
        torch.rand(100)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


def test_torch_draws_do_not_depend_on_the_global_state():
    torch.manual_seed(1)
    first = torch_draw((0, Purpose.DATA))
    torch.manual_seed(2)
    assert torch_draw((0, Purpose.DATA)) == first


def test_global_state_of_numpy_and_python_is_neither_read_nor_changed():
    np.random.seed(1)
    random.seed(1)
    numpy_state, python_state = np.random.get_state(), random.getstate()
    first = numpy_draw((0, Purpose.DATA)), torch_draw((0, Purpose.DATA))
    assert all(
        np.array_equal(now, then)
        for now, then in zip(np.random.get_state(), numpy_state, strict=True)
    )
    assert random.getstate() == python_state
    np.random.seed(2)
    random.seed(2)
    assert (numpy_draw((0, Purpose.DATA)), torch_draw((0, Purpose.DATA))) == first
