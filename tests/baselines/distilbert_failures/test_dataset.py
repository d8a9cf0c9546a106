from collections import Counter

import numpy as np
import pytest
import tiny_encoders
import torch
from distilbert_failures import dataset
from distilbert_failures.dataset import load_dataset
from distilbert_failures.encoder import load_tokenizer
from distilbert_failures.model import make_trunk
from distilbert_failures.text_scores import style_scores, token_scores
from distilbert_failures.tokens import tokenize
from refusal import refusal
from tiny_encoders import DISTILBERT

from common.data import load_texts

CPU = torch.device("cpu")
ALL = {"trainable": "all"}


def every(inputs):
    """Return all inputs, in one batch."""
    return inputs.take(torch.arange(len(inputs)))


@pytest.fixture
def texts(tiny_texts):
    return load_texts("ag_news")


@pytest.fixture
def tokens_of(tiny_texts):
    """Tokens of some texts, as a batch has them."""
    tokenizer = load_tokenizer(DISTILBERT)

    def tokens_of(texts, max_length=32):
        found = tokenize(tokenizer, texts, max_length)
        return [ids.tolist() for ids in np.split(found.ids, found.offsets[1:-1])]

    return tokens_of


@pytest.fixture
def trunks(monkeypatch):
    """Which trunks were made."""
    made = []

    def spy(config, num_classes):
        made.append(config.trainable)
        return make_trunk(config, num_classes)

    monkeypatch.setattr(dataset, "make_trunk", spy)
    return made


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    """Nothing has been computed yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_client_has_its_own_texts_and_labels(make_config, texts, tokens_of):
    data = load_dataset(make_config(**ALL))
    assert (data.num_classes, data.class_names[3]) == (4, "sci_tech")
    for client in range(3):
        chosen = data.partition.client(client)
        x, y = data.client(client, CPU)
        batch = every(x)
        found = [
            tokens[mask].tolist() for tokens, mask in zip(batch.tokens, batch.mask, strict=True)
        ]
        assert found == tokens_of([texts.x_train[i] for i in chosen])
        np.testing.assert_array_equal(y, texts.y_train[chosen])
        np.testing.assert_array_equal(np.bincount(y, minlength=4), data.label_counts[client])
    assert sorted(data.partition.indices.tolist()) == list(range(80))


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_evaluated_is_in_the_order_of_lengths(make_config, texts, tokens_of, split):
    data = load_dataset(make_config(**ALL, num_train_texts=50, num_test_texts=30))
    x, y = getattr(data, f"{split}_set")(CPU)
    first = {"train": 50, "test": 30}[split]
    expected = zip(
        map(tuple, tokens_of(getattr(texts, f"x_{split}")[:first])),
        getattr(texts, f"y_{split}")[:first].tolist(),
        strict=True,
    )
    batch = every(x)
    assert np.all(np.diff(batch.mask.sum(dim=1)) >= 0)
    found = [
        tuple(tokens[mask].tolist()) for tokens, mask in zip(batch.tokens, batch.mask, strict=True)
    ]
    assert Counter(zip(found, y.tolist(), strict=True)) == Counter(expected)


@pytest.mark.parametrize("encoder", [DISTILBERT, tiny_encoders.BERT])
@pytest.mark.parametrize("trainable", ["last_2", "head"])
def test_cached_features_are_what_the_trunk_makes_of_a_text(make_config, encoder, trainable):
    keys = {"encoder": encoder, "trainable": trainable}
    tokens = load_dataset(make_config(**keys | ALL))
    trunk = make_trunk(make_config(**keys), 4)
    cached = load_dataset(make_config(**keys))
    computed = load_dataset(make_config(**keys, cache_frozen_layers=False))
    for get in (
        *(lambda data, client=client: data.client(client, CPU) for client in range(3)),
        lambda data: data.train_set(CPU),
        lambda data: data.test_set(CPU),
    ):
        (of_tokens, y), (of_cache, y_cached), (anew, y_anew) = map(get, (tokens, cached, computed))
        assert y.tolist() == y_cached.tolist() == y_anew.tolist()
        assert len(of_tokens) == len(of_cache) == len(anew)
        expected = trunk(every(of_tokens))
        for batch in (every(of_cache), every(anew)):
            assert batch.tokens.dtype == torch.float32
            assert torch.equal(batch.mask, expected.mask)
            torch.testing.assert_close(
                batch.tokens[batch.mask], expected.tokens[expected.mask], rtol=1e-5, atol=1e-5
            )


def test_features_are_computed_once(make_config, trunks, fresh_cache):
    load_dataset(make_config())
    assert trunks == ["last_2"] * 2  # For training and test texts.
    for keys in ({"seed": 4}, {"partition": "iid"}, {"learning_rate": 1.0}, {"num_clients": 5}):
        load_dataset(make_config(**keys))
    assert len(trunks) == 2
    load_dataset(make_config(num_test_texts=5))
    load_dataset(make_config(max_length=16))
    load_dataset(make_config(encoder=tiny_encoders.BERT))
    load_dataset(make_config(trainable="head"))
    assert len(trunks) == 3 + 2 + 2 + 2
    for keys in (ALL, {"trainable": "lora"}):
        load_dataset(make_config(**keys))
    assert len(trunks) == 9


def test_features_are_those_of_the_texts_that_are_there(make_config, tmp_path, monkeypatch):
    """The cache notices another file under the same name."""
    words = load_dataset(make_config())
    tiny_encoders.write_split(tmp_path, "train", ["the war"] * 20, [0, 1, 2, 3] * 5)
    tiny_encoders.write_split(tmp_path, "test", ["a cup"] * 4, [0, 1, 2, 3])
    (tmp_path / "weights").symlink_to(
        dataset.load_tokenizer(DISTILBERT).name_or_path.removesuffix(DISTILBERT)
    )
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    dataset._tokenized.cache_clear()
    dataset._load.cache_clear()
    others = load_dataset(make_config(partition="iid"))
    assert others.train.rows.shape == (20 * 4, 16)
    assert not np.allclose(others.train.rows[:4], words.train.rows[:4], atol=1e-3)


def test_a_process_has_one_trunk(make_config, trunks):
    data = load_dataset(make_config(cache_frozen_layers=False))
    assert trunks == []
    for client in (0, 1, 2, 0):
        every(data.client(client, CPU)[0])
    every(data.test_set(CPU)[0])
    other = load_dataset(make_config(cache_frozen_layers=False, seed=1))
    every(other.client(0, CPU)[0])
    assert trunks == ["last_2"]


def test_runs_that_differ_in_other_keys_share_the_data(make_config):
    first = load_dataset(make_config(model_seed=3, sampling_seed=4, mu=0.1))
    assert load_dataset(make_config(model_seed=5, sampling_seed=6, mu=0.2)) is first
    other = load_dataset(make_config(dirichlet_alpha=1.0))
    assert other is not first
    assert other.train is first.train


def test_cut_and_empty_texts_are_counted(make_config, tokens_of, texts):
    data = load_dataset(make_config(max_length=12, **ALL))
    for split, of_split in ((data.train, texts.x_train), (data.test, texts.x_test)):
        lengths = np.array([len(tokens) for tokens in tokens_of(of_split, 64)])
        assert split.tokens.num_truncated == np.count_nonzero(lengths > 12) > 0
        assert split.tokens.num_empty == 0
        np.testing.assert_array_equal(split.tokens.lengths, np.minimum(lengths, 12))


def test_the_first_texts_are_taken(make_config, texts):
    data = load_dataset(make_config(**ALL, num_train_texts=30, num_test_texts=7))
    np.testing.assert_array_equal(data.train.labels, texts.y_train[:30])
    np.testing.assert_array_equal(data.test.labels, texts.y_test[:7])
    assert data.partition.sizes.sum() == 30


@pytest.mark.parametrize(("key", "most"), [("num_train_texts", 80), ("num_test_texts", 40)])
def test_no_more_texts_than_there_are(make_config, key, most):
    load_dataset(make_config(**ALL, **{key: most}))
    assert refusal(load_dataset, make_config(**ALL, **{key: most + 1})) == (
        f"{key}={most + 1} is not allowed: it must be at most {most}, or 0 for all of them."
    )


SKEWS = [
    ("style_skew", "style", "length", style_scores),
    ("style_skew", "style", "complexity", style_scores),
    ("token_skew", "token_statistic", "vocabulary", token_scores),
    ("token_skew", "token_statistic", "frequency", token_scores),
]


@pytest.mark.parametrize(("partition", "key", "score", "scored"), SKEWS)
def test_texts_sorted_by_a_score_are_a_range_for_each_client(
    make_config, texts, partition, key, score, scored
):
    found = load_dataset(make_config(**ALL, partition=partition, **{key: score})).partition
    scores = scored(texts.x_train, score)
    ranges = [scores[found.client(client)] for client in range(3)]
    assert [len(of_client) for of_client in ranges] == [27, 27, 26]
    assert ranges[0].max() <= ranges[1].min()
    assert ranges[1].max() <= ranges[2].min()
    assert ranges[0].min() < ranges[2].max()


def test_no_client_of_a_dirichlet_partition_is_smaller_than_its_share(make_config):
    keys = {"dirichlet_alpha": 0.01, "num_clients": 5, "seed": 2}
    smallest = {
        share: load_dataset(
            make_config(**ALL, **keys, min_partition_share=share)
        ).partition.sizes.min()
        for share in (0.0, 0.5)
    }
    assert smallest[0.0] < 8 <= smallest[0.5]


def test_the_partition_is_a_function_of_its_seed(make_config):
    def partition(**keys):
        return load_dataset(make_config(**ALL, **keys)).partition.indices.tolist()

    first = partition(partition_seed=3)
    assert partition(partition_seed=3, seed=8, model_seed=1, sampling_seed=2) == first
    assert partition(seed=3) == first
    assert partition(partition_seed=4) != first


def test_clients_must_have_texts(make_config):
    keys = {"partition": "iid", "num_clients": 81, "clients_per_round": 1}
    assert refusal(load_dataset, make_config(**ALL, **keys)).startswith(
        "partition='iid' is not possible: "
    )
