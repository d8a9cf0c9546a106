import numpy as np
import pytest
import torch
from distilbert_failures import tokens
from distilbert_failures.encoder import load_tokenizer
from distilbert_failures.tokens import (
    TextBatch,
    ThroughFrozenLayers,
    TokenInputs,
    tokenize,
)
from hypothesis import given
from hypothesis import strategies as st
from tiny_encoders import DISTILBERT, WORDS

CPU = torch.device("cpu")
BEGIN, END, UNKNOWN = (WORDS.index(word) for word in ("[CLS]", "[SEP]", "[UNK]"))


@pytest.fixture(scope="module")
def tokenizer(tiny_folder):
    return load_tokenizer(str(tiny_folder / "data" / "weights" / DISTILBERT))


def ids(*words):
    return [WORDS.index(word) for word in words]


def of_text(tokenized, text):
    return tokenized.ids[tokenized.offsets[text] : tokenized.offsets[text + 1]].tolist()


def test_a_text_is_its_beginning_its_words_and_its_end(tokenizer):
    found = tokenize(tokenizer, ["The war, envoys", "quark"], 64)
    assert of_text(found, 0) == [BEGIN, *ids("the", "war", ",", "envoy", "##s"), END]
    assert of_text(found, 1) == [BEGIN, UNKNOWN, END]
    assert len(found) == 2
    assert found.lengths.tolist() == [7, 3]
    assert (found.num_truncated, found.num_empty) == (0, 0)


def test_what_is_longer_is_cut_and_counted(tokenizer):
    texts = ["the war on the border", "the war on", "the war on the", ""]
    found = tokenize(tokenizer, texts, 5)
    assert of_text(found, 0) == of_text(found, 1) == [BEGIN, *ids("the", "war", "on"), END]
    assert found.lengths.tolist() == [5, 5, 5, 2]
    assert found.num_truncated == 2


def test_texts_without_a_word_are_counted(tokenizer):
    found = tokenize(tokenizer, ["", "the", "   ", "\n\t", "\u00a0", "."], 64)
    assert [of_text(found, i) for i in (0, 2, 3, 4)] == [[BEGIN, END]] * 4
    assert found.num_empty == 4
    assert found.num_truncated == 0


def test_a_text_cut_to_nothing_is_not_one_without_words(tokenizer):
    found = tokenize(tokenizer, ["the war", ""], 2)
    assert found.lengths.tolist() == [2, 2]
    assert found.num_truncated == 1


def test_texts_are_tokenised_a_chunk_at_a_time(tokenizer, monkeypatch):
    texts = ["the", "war, on the", "", "border", "cup and goal", "oil", "tax"]
    expected = tokenize(tokenizer, texts, 4)
    monkeypatch.setattr(tokens, "_CHUNK", 3)
    found = tokenize(tokenizer, texts, 4)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    assert found.num_truncated == expected.num_truncated == 2
    assert found.num_empty == expected.num_empty == 1


# Texts of 2, 4, 1 and 3 tokens.
ROWS = np.array([10, 11, 20, 21, 22, 23, 30, 40, 41, 42])
OFFSETS = np.array([0, 2, 6, 7, 10])


def test_a_batch_by_hand():
    inputs = TokenInputs(ROWS, OFFSETS, np.array([3, 0, 1]), CPU)
    assert len(inputs) == 3
    batch = inputs.take(torch.tensor([1, 0]))
    assert batch.mask.tolist() == [[True, True, False], [True] * 3]
    assert batch.tokens[batch.mask].tolist() == [10, 11, 40, 41, 42]
    assert batch.tokens.dtype == torch.int64
    assert inputs.take(torch.tensor([1])).tokens.tolist() == [[10, 11]]


def test_hidden_states_are_read_as_tokens_are():
    hidden = np.stack([ROWS, -ROWS], axis=1).astype(np.float32)
    inputs = TokenInputs(hidden, OFFSETS, np.arange(4), CPU)
    batch = inputs.take(torch.tensor([2, 1]))
    assert batch.tokens.shape == (2, 4, 2)
    assert batch.tokens.dtype == torch.float32
    assert batch.tokens[0, 0].tolist() == [30, -30]
    assert batch.tokens[1].tolist() == [[20, -20], [21, -21], [22, -22], [23, -23]]
    assert batch.mask.tolist() == [[True, False, False, False], [True] * 4]


@given(data=st.data(), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_a_batch_has_every_token_of_its_texts_and_counts_no_other(data, lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.arange(offsets[-1]) + 100
    chosen = st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=6)
    texts = np.array(data.draw(chosen))
    examples = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=6))
    batch = TokenInputs(rows, offsets, texts, CPU).take(torch.tensor(examples))
    of_examples = [rows[offsets[i] : offsets[i + 1]] for i in texts[examples]]
    assert batch.tokens.shape == (len(examples), max(map(len, of_examples)))
    for tokens_, mask, expected in zip(batch.tokens, batch.mask, of_examples, strict=True):
        assert tokens_[mask].tolist() == expected.tolist()
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)
        assert {*tokens_.tolist()} == {*expected.tolist()}


@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_frozen_layers_see_a_batch_in_float32_and_keep_no_gradient(in_bfloat16):
    weight = torch.ones(2, 3, requires_grad=True)

    def frozen_layers(batch):
        hidden = batch.tokens[..., None] @ weight[:1]
        return TextBatch(hidden, batch.mask)

    rows = ROWS.astype(np.float32) + 0.123456
    inputs = ThroughFrozenLayers(frozen_layers, TokenInputs(rows, OFFSETS, np.arange(4), CPU))
    assert len(inputs) == 4
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
        batch = inputs.take(torch.tensor([0, 2]))
    assert batch.tokens.dtype == torch.float32
    assert not batch.tokens.requires_grad
    assert batch.tokens[0, :, 2].tolist() == rows[:2].tolist()
    assert batch.mask.tolist() == [[True, True], [True, False]]
