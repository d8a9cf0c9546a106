"""Encoders that nobody trained, their tokenizer, and AG News in small."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MAX_LENGTH = 64
NUM_CLASSES = 4
NUM_TRAIN, NUM_TEST = 80, 40
DISTILBERT, BERT, ROBERTA, SHALLOW = "tiny-distilbert", "tiny-bert", "tiny-roberta", "two-layers"

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# What a class can be told from, and what all talk about.
TOPICS = (
    *(("war", "vote", "treaty", "border", "minister", "protest", "troops", "envoy"),),
    *(("cup", "goal", "coach", "season", "match", "team", "league", "racket"),),
    *(("profit", "shares", "bank", "oil", "merger", "bonds", "trade", "tax"),),
    *(("chip", "virus", "software", "orbit", "genome", "robot", "web", "lens"),),
)
COMMON = (
    *("the", "a", "of", "in", "on", "to", "and", "for", "new", "says", "after", "will", "more"),
    *("monday", "friday", "year", "week", "first", "last", "two"),
)
WORDS = (*SPECIAL, *(word for topic in TOPICS for word in topic), *COMMON, "##s", ".", ",")

_SIZES = {
    "vocab_size": len(WORDS),
    "max_position_embeddings": MAX_LENGTH,
    "pad_token_id": 0,
    "initializer_range": 0.15,  # So that layers make more of a difference than a rounding error.
}
_BERT_SIZES = {
    **_SIZES,
    "num_hidden_layers": 4,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def write(root: Path) -> None:
    """Write AG News and, as ``weights/<name>``, encoders below a data folder."""
    write_texts(root)
    for name in (DISTILBERT, BERT, ROBERTA, SHALLOW):
        write_encoder(root / "weights" / name, name)


def write_encoder(folder: Path, name: str = DISTILBERT, seed: int = 0) -> None:
    """Write a folder as the hub has it: weights without a head, configuration and tokenizer."""
    import torch
    from transformers import (  # Here, for it takes seconds.
        BertConfig,
        BertModel,
        DistilBertConfig,
        DistilBertModel,
        RobertaConfig,
        RobertaModel,
    )
    from transformers.utils import logging

    logging.disable_progress_bar()
    of_distilbert = {"dim": 16, "n_heads": 2, "hidden_dim": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == BERT:
            encoder = BertModel(BertConfig(**_BERT_SIZES, type_vocab_size=2))
        elif name == ROBERTA:
            encoder = RobertaModel(RobertaConfig(**_BERT_SIZES, type_vocab_size=1))
        else:
            layers = {"n_layers": 2 if name == SHALLOW else 4}
            encoder = DistilBertModel(DistilBertConfig(**_SIZES, **of_distilbert, **layers))
        for key, w in encoder.named_parameters():
            if key.endswith("bias"):
                torch.nn.init.normal_(w, std=0.1)
    encoder.save_pretrained(folder)
    write_tokenizer(folder)


def write_tokenizer(folder: Path) -> None:
    """Write a WordPiece tokenizer of some sixty words."""
    from transformers import BertTokenizerFast

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    BertTokenizerFast(vocab=vocabulary, model_max_length=MAX_LENGTH).save_pretrained(folder)


def text_of(label: int, rng: np.random.Generator) -> str:
    """Return a text of 5 to 20 words and one more, most of them of its class."""
    words = [
        str(rng.choice(TOPICS[label] if rng.random() < 0.7 else COMMON))
        for _ in range(rng.integers(5, 21))
    ]
    return " ".join([str(rng.choice(TOPICS[label])), *words]).capitalize() + "."


def write_texts(root: Path) -> None:
    """Write ``ag_news``, as the hub has it: as many texts of each class, in no order."""
    rng = np.random.default_rng(2)
    for split, num_texts in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        labels = rng.permutation(np.arange(num_texts) % NUM_CLASSES)
        write_split(root, split, [text_of(label, rng) for label in labels], labels.tolist())


def write_split(root: Path, split: str, texts: list[str], labels: list[int]) -> None:
    """Write a split of some texts."""
    folder = root / "ag_news"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": texts, "label": labels}), folder / f"{split}.parquet")
