"""What the docstrings of `common` must say, which a reader of the API reference relies on."""

from functools import lru_cache
from pathlib import Path

import pytest

from tests.support.docstring_rules import Finding, Module, findings, parse, read, without_source

ROOT = Path(__file__).parents[1]
PUBLISHING = ("common.client", "common.compression", "common.partition", "common.strategy")
# These implement nothing that was published: what is exchanged, checked, counted and named.
NOTHING_PUBLISHED = {
    "common.client.compressed_update",
    "common.compression.compressor",
    "common.compression.entropy",
    "common.compression.options",
    "common.compression.sparse",
    "common.compression.top_k",
    "common.compression.wire",
    "common.partition.allocation",
    "common.partition.csr",
    "common.partition.schemes",
    "common.partition.score_ranges",
    "common.partition.statistics",
    "common.partition.validation",
    "common.partition.weights",
    "common.strategy.client_metrics",
    "common.strategy.compressed",
    "common.strategy.drift",
    "common.strategy.options",
    "common.strategy.reply",
}


def test_docstrings_of_common_are_complete() -> None:
    found = findings(_common())
    assert not found, "\n" + "\n".join(map(str, found))


def test_published_methods_have_a_source() -> None:
    assert set(without_source(_common(), PUBLISHING)) == NOTHING_PUBLISHED


def test_every_folder_of_common_is_a_package() -> None:
    """Else it has no docstring, and no page in the API reference."""
    folders = {path.parent for path in (ROOT / "common").rglob("*.py")}
    template = ROOT / "common" / "scaffold" / "template"
    assert [
        str(folder)
        for folder in folders
        if not (folder / "__init__.py").exists() and template not in (folder, *folder.parents)
    ] == []


def _function(signature: str, said: str = "F.", body: str = "pass") -> str:
    lines = [f'"""{said}', '"""', *body.split("\n")]
    return "\n    ".join([f"def {signature}:", *lines])


def _class(said: str, body: str) -> str:
    return "\n    ".join(["class A:", f'"""{said}', '"""', *body.split("\n")])


def _section(name: str, *entries: str) -> str:
    return f"F.\n\n    {name}:\n        " + "\n        ".join(entries) + "\n    "


GUARDED = "try:\n    raise ValueError\nexcept {}:\n    {}"


@pytest.mark.parametrize(
    ("code", "lacks"),
    [
        ("def f(): ...", "no docstring"),
        (_class("A.", "def f(self): ..."), "no docstring"),
        (_class("A.", "@property\ndef f(self): ..."), "no docstring"),
        (_function("f()", _section("Returns", "What it is: x.")), "a colon in the first line"),
        (_class("A.", "@property\ndef f(self): 'What it is: x.'"), "a colon in the first line"),
        (_class("A.", "x: int"), "Attributes: lacks x"),
        (_function("f(w: Tensor)", "Take weights."), "no shape of w"),
        (_function("f(*, w: dict[str, Floats])"), "no shape of w"),
        (_function("f(w: 'NDArray[Any]')"), "no shape of w"),
        (_function("f(w: Tensor)", _section("Args", "w: Weights [n].")), "no shape of w"),
        (_function("f() -> list[np.ndarray]", "Return some."), "no shape of the result"),
        (_class(_section("Attributes", "x: Some."), "x: Floats"), "no shape of x"),
        (_class("A.", "def __init__(self, w: Tensor): ..."), "no shape of w"),
        (_function("f(timeout: float | None)"), "no unit of timeout"),
        (_function("latency() -> float", "Return how long."), "no unit of the result"),
        (_class(_section("Attributes", "memory: M."), "memory: int"), "no unit of memory"),
        (_function("f()", body="raise ValueError('x')"), "Raises: lacks ValueError"),
        (_function("f()", _section("Raises", "KeyError: X."), "raise OSError"), "lacks OSError"),
        (_function("f()", body=GUARDED.format("KeyError", "pass")), "Raises: lacks ValueError"),
        (_function("f()", body=GUARDED.format("Exception", "raise")), "Raises: lacks ValueError"),
        (_function("f()", body="_refuse()"), "Raises: lacks UserInputError"),
        (_function("f()", body="raise _refused()"), "Raises: lacks StorageError"),
        (
            _class("A.", "def f(self):\n    'F.'\n    self._g()\ndef _g(self): raise StorageError"),
            "Raises: lacks StorageError",
        ),
    ],
)
def test_what_is_missing_is_found(code: str, lacks: str) -> None:
    (finding,) = _findings(code)
    assert finding.lacks.endswith(lacks)
    assert str(finding).startswith("made/up.py:")


@pytest.mark.parametrize(
    "code",
    [
        "def _f(w): ...",
        _class("A.", "def _f(self): ..."),
        _function("f(w: Tensor)", _section("Args", "w: Weights, shape [n].")),
        _function("f(w: Tensor)", _section("Args", "w: Weights, int64 [n].")),
        _function("f(w: Tensor)", _section("Args", "w: Weights, of any shapes.")),
        _function("f(w: Tensor)", _section("Args", "w: As for :func:`g`.")),
        _function("f(g: Callable[[Tensor], None])"),
        _function("f(timeout_seconds: float)"),
        _function("f(timeout: float)", _section("Args", "timeout: Seconds.")),
        _function("f(timeout: Timeout)"),
        _function("f()", _section("Raises", "ValueError: X."), "raise UserInputError"),
        _function("f()", _section("Returns", "What :func:`g` does.", "Twice: or not.")),
        _function("f()", body=GUARDED.format("ValueError", "pass")),
        _function("f()", body=GUARDED.format("Exception", "return None")),
        _function("f()", body="def g():\n    raise ValueError"),
        "class B(A):\n    'B.'\n    def f(self, w: Tensor): 'As A.'\n"
        + _class("A.", "def f(self, w: Tensor): 'Take weights, shape [n].'"),
    ],
)
def test_what_is_there_is_not_missed(code: str) -> None:
    assert _findings(code) == []


@pytest.mark.parametrize(
    ("said", "is_source"),
    [
        ("Reddi et al. 2021, algorithm 2.", True),
        ("Loshchilov & Hutter 2019.", True),
        ("Balinski and Young 1982, Fair Representation.", True),
        ("It is that of arXiv 2003.00295.", True),
        ("The rule of Li et al., section 5.2.", False),
        ("Written in 2021, for 2000 clients.", False),
    ],
)
def test_source_has_an_author_and_a_year(said: str, is_source: bool) -> None:
    modules = parse({"common.client.a": ("a.py", f'"""{said}"""')})
    assert without_source(modules, PUBLISHING) == ([] if is_source else ["common.client.a"])


def _findings(code: str) -> list[Finding]:
    made_up = f'''"""Made up."""
from numpy.typing import NDArray
from torch import Tensor
from made.errors import StorageError, UserInputError
from made.types import Floats
{code}
def _refuse():
    raise UserInputError
def _refused() -> StorageError: ...
'''
    errors = "class UserInputError(ValueError):\n    'E.'\nclass StorageError(OSError):\n    'E.'"
    modules = {
        "made.up": ("made/up.py", made_up),
        "made.types": ("made/types.py", "'Types.'\nFloats = NDArray[np.float32]"),
        "made.errors": ("made/errors.py", f"'Errors.'\n{errors}"),
    }
    return findings(parse(modules))


@lru_cache
def _common() -> dict[str, Module]:
    modules = read(ROOT, ROOT / "common")
    return {name: m for name, m in modules.items() if "scaffold.template" not in name}
