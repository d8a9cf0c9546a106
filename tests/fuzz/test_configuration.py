"""Whatever a configuration says, it is taken or refused in one sentence, by both front ends.

FLOWERBED_FUZZ_EXAMPLES says how many examples each test tries.
"""

import io
import math
from contextlib import redirect_stderr
from pathlib import Path

import fedprox
import pytest
import yaml
from fedprox.config import FedProxConfig
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.engine.flwr_run import Request, parse_request
from common.errors import UserInputError
from common.experiment import cli
from common.experiment.config import flat_keys, read_default_config
from common.experiment.run_files import read_config

fuzz = settings.get_profile("fuzz")
APP = Path(fedprox.__file__).parents[1]
DEFAULTS = read_default_config(APP / "pyproject.toml")
KEYS = [*flat_keys(FedProxConfig), "repeat_num"]

numbers = st.integers() | st.floats() | st.integers(-(10**400), 10**400)
scalars = st.none() | st.booleans() | numbers | st.text() | st.sampled_from(["fedavg", "cuda:1"])
values = st.recursive(
    scalars | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=5,
)
keys = st.sampled_from(KEYS) | st.sampled_from(["client_resources", "hydra", "seed.x"]) | st.text()


def sentence_of(error):
    """Return what is wrong, which must be told in one line of bounded length."""
    message = str(error)
    assert message
    assert "\n" not in message
    assert len(message) < 3000
    return message


@fuzz
@given(st.dictionaries(keys, values, max_size=4))
@example({"client_resources": 1.0, "client_resources.num_cpus": 1.0})
@example({"mu": "\n" * 10_000})
def test_a_mapping_is_a_configuration_or_refused(changes):
    try:
        config = FedProxConfig.parse(DEFAULTS | changes)
    except UserInputError as error:
        sentence_of(error)
    else:
        assert 0 <= config.mu < math.inf
        assert 1 <= config.clients_per_round <= config.num_clients


@fuzz
@given(st.dictionaries(keys, st.booleans() | numbers | st.text(), max_size=4))
def test_a_flat_run_config_is_a_configuration_or_refused(changes):
    """As `flwr run` hands it to both apps."""
    flat = FedProxConfig.parse(DEFAULTS).to_run_config()
    try:
        config = FedProxConfig.from_run_config(flat | changes)
    except UserInputError as error:
        sentence_of(error)
    else:
        assert FedProxConfig.from_run_config(config.to_run_config()) == config


# Words of Hydra's grammar, so that more than its lexer is tried.
words = st.lists(
    st.sampled_from(
        ["=", "+", "~", "@", ",", ":", "{", "}", "[", "]", "(", ")", "'", '"', "\\", "$", "${", " ",
         "null", "true", "1e400", "-1", "0.5", "inf", "nan", "range(2)", "choice(1,2)", "glob(*)",
         "oc.env:HOME", "hydra", "experiment", "method", "synthetic", "../..", "/etc/passwd", "\n"]
    ) | st.sampled_from(KEYS) | st.text(max_size=3),
    max_size=8,
).map("".join)  # fmt: skip
pairs = st.builds("{}={}".format, st.sampled_from(KEYS), words | numbers.map(str))


@fuzz
@given(st.lists(pairs | words, min_size=1, max_size=3))
@example(["method=3"])
@example(["+method=../../../pyproject"])
def test_an_override_is_taken_or_refused_by_hydra(overrides):
    with redirect_stderr(io.StringIO()) as file:
        code = cli.exit_code(
            lambda: cli.compose_config("fedprox", FedProxConfig, overrides), FedProxConfig
        )
    err = file.getvalue()
    assert code in (cli.COMPLETE, cli.USER_INPUT), err
    if code == cli.USER_INPUT:
        sentence_of(err.removesuffix("\n"))


@fuzz
@given(st.lists(pairs | words, max_size=3))
def test_a_pair_is_taken_or_refused_by_the_wrapper_of_flwr_run(given_pairs):
    try:
        request = parse_request(str(APP), given_pairs)
    except UserInputError as error:
        sentence_of(error)
    else:
        assert isinstance(request, Request)
        assert request.num_supernodes >= 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


yaml_words = st.lists(
    st.sampled_from(
        ["a: ", "- ", "  ", "\n", "&x ", "*x", "{", "}", "[", "]", "!!python/name:os.system ",
         "!!binary ", "<<: ", "1_000", "2001-01-01", ".inf", ".nan", "0x", "null", "? ", ": ",
         "|\n", "'", '"', "%YAML"]
    ) | st.sampled_from(KEYS) | st.text(max_size=3),
    max_size=20,
).map("".join)  # fmt: skip


@fuzz
@given(st.binary() | yaml_words.map(str.encode) | values.map(lambda value: str(value).encode()))
@example(b"[" * 50_000)
@example(b"mu: &a [1,1]\nseed: &b [*a,*a,*a,*a]\nnum_rounds: [*b,*b,*b,*b]\n")
@example(b"!!python/object/apply:os.system ['true']")
@example(b"mu: " + b"9" * 10_000)
def test_the_configuration_of_a_stranger_is_read_or_refused(folder, content):
    (folder / "config.yaml").write_bytes(content)
    with pytest.raises(UserInputError) as refused:
        read_config(folder, FedProxConfig)
    sentence_of(refused.value)


@fuzz
@given(st.dictionaries(keys, values, max_size=3))
def test_a_changed_configuration_is_read_or_refused(folder, changes):
    content = yaml.dump(DEFAULTS | changes, allow_unicode=True)
    (folder / "config.yaml").write_text(content, encoding="utf-8", errors="surrogatepass")
    try:
        read_config(folder, FedProxConfig)
    except UserInputError as error:
        sentence_of(error)
