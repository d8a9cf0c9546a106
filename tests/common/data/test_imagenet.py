import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.data.imagenet import hold_out
from common.randomness import Purpose, generator


def rng(seed=0):
    return generator(seed, Purpose.DATA)


def test_five_of_fifty_images_of_every_class_test():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(1000), 50))
    train, test = hold_out(labels, rng())
    assert (len(train), len(test)) == (45_000, 5_000)
    assert (np.bincount(labels[test]) == 5).all()
    assert (np.bincount(labels[train]) == 45).all()


def test_the_seed_decides_which():
    labels = np.repeat(np.arange(10), 50)
    drawn = [hold_out(labels, rng(seed))[1].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_is_no_whole_tenth_is_rounded():
    labels = np.repeat(np.arange(6), [1, 2, 14, 15, 24, 25])
    train, test = hold_out(labels, rng())
    assert np.bincount(labels[test], minlength=6).tolist() == [0, 1, 1, 2, 2, 3]
    assert np.bincount(labels[train], minlength=6).tolist() == [1, 1, 13, 13, 22, 22]


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), seed=st.integers(0, 9))
def test_every_example_is_used_once(labels, seed):
    train, test = hold_out(np.array(labels), rng(seed))
    assert train.dtype == test.dtype == np.int64
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert {labels[i] for i in train} == set(labels)
