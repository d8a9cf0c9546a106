"""What a docstring of a public name must say, beyond what ruff asks: read from source, not run.

- no colon where Sphinx takes what is before it for a type: in the first line of what is returned or
  yielded, and of a property.
- attributes: every field of a class.
- shape: of every array or tensor that a function takes or returns, and of a class's fields.
- unit: of every duration, size in memory and rate, in the docstring or in the name.
- raises: every exception that the function's own statements raise, or a function of the same
  module that it calls, for the errors of :mod:`common.errors`.
- source: of every module of some packages, the publication.

What overrides a method of a documented base may leave shapes and units to it.
"""

import ast
import builtins
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef

ARRAYS = {"NDArray", "ndarray", "Tensor", "ArrayLike"}
# Of another kind than what a public name may raise without saying so.
OUR_ERRORS = {"UserInputError", "StorageError", "ClientFailedError"}
# Raised by what is not finished, or by what callers did not write.
UNTOLD = {"NotImplementedError", "AssertionError", "StopIteration", "SystemExit"}

SHAPE = re.compile(
    r"(?i)\b(?:shapes?|bool|u?int(?:8|16|32|64)|float(?:16|32|64)|rounds?[.:]?) \[[^\]]+\]"
    r"|\b(?:any|every|same|its|their|whose|that|the) (?:\w+ )?shapes?\b"
    r"|\bas (?:for|of|documented for) (?:\w+ )?(?::\w+:)?[`\w]"
)
QUANTITY = re.compile(
    r"(?:^|_)(?:timeout|duration|latency|delay|elapsed|deadline|grace|bandwidth|throughput|memory"
    r"|wall_time|cpu_time)(?:_|$)"
)
UNIT = re.compile(
    r"(?i)\b(?:nano|micro|milli)?seconds?\b|\b(?:minutes|hours|rounds|steps)\b|\bbytes?\b|\bbits?\b"
    r"|\b[KMG]i?B\b|\b[kMG]bits?\b"
)
# Author(s) and year, or a number of arXiv.
SOURCE = re.compile(
    r"[A-Z][\w'-]+(?:,? (?:et al\.|and(?: van)? [A-Z]\w+|& [A-Z]\w+))?,? \(?(?:19|20)\d\d\b"
    r"|arXiv:? ?\d{4}\.\d{4,5}|[A-Z]\w+, \"[^\"]+\"[^\"]{0,60}(?:19|20)\d\d"
)
# A role of Sphinx, such as :func:`f`, has no space after its colons.
TYPED = re.compile(r".*:(?:\s|$)")
SECTIONS = {"Args", "Attributes", "Returns", "Yields", "Raises"}


@dataclass(frozen=True)
class Finding:
    """What a docstring lacks, and where."""

    path: str
    line: int
    name: str
    lacks: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.name}: {self.lacks}"


@dataclass(frozen=True)
class Docstring:
    """A Google docstring, by parts."""

    text: str
    prose: str
    entries: Mapping[str, Mapping[str, str]]
    sections: Mapping[str, str]

    @classmethod
    def of(cls, node: ast.AST) -> "Docstring":
        """Return that of a function, class or module; an empty one where there is none."""
        assert isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        text = ast.get_docstring(node) or ""
        parts: dict[str, list[str]] = {"": []}
        section = ""
        for line in text.splitlines():
            if line.endswith(":") and line[:-1] in SECTIONS:
                section = line[:-1]
                parts[section] = []
            else:
                parts[section].append(line)
        sections = {name: "\n".join(lines) for name, lines in parts.items()}
        return cls(text, sections.pop(""), {k: _entries(v) for k, v in sections.items()}, sections)

    def of_name(self, name: str) -> str:
        """Return what is said of a parameter or field; all prose where it has no entry."""
        for section in ("Args", "Attributes"):
            if name in self.entries.get(section, {}):
                return self.entries[section][name]
        return self.prose

    @property
    def of_result(self) -> str:
        """What is said of what is returned or yielded."""
        return self.prose + self.sections.get("Returns", "") + self.sections.get("Yields", "")

    @property
    def raised(self) -> set[str]:
        """The exceptions that are told."""
        return {
            name.strip().rpartition(".")[2]
            for names in self.entries.get("Raises", {})
            for name in names.split(",")
        }


def _entries(section: str) -> dict[str, str]:
    """Return the text of each entry of a section, by name."""
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if entry := re.match(r" {4}\*{0,2}(\w[\w., ]*?)(?: \([^)]*\))?: (.*)", line):
            name = entry[1]
            found[name] = entry[2]
        elif name:
            found[name] += " " + line.strip()
    return found


@dataclass
class Module:
    """A parsed module, and what its names stand for."""

    name: str
    path: str
    tree: ast.Module
    others: Mapping[str, "Module"] = field(default_factory=dict, repr=False)

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """Module and name that a name is imported from."""
        return {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }

    @cached_property
    def aliases(self) -> dict[str, ast.expr]:
        """Names that stand for an expression, such as of a type."""
        found: dict[str, ast.expr] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found[node.targets[0].id] = node.value
            elif (
                isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
            ):
                found[node.target.id] = node.value
        return found

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Its classes, by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def functions(self) -> dict[str, Function]:
        """Its functions, by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, Function)}

    def is_array(self, annotation: ast.expr | None) -> bool:
        """Whether a type is of arrays, or of what holds nothing else, such as a list of them."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        return annotation is not None and any(
            self._names_array(node) for node in _without_callables(annotation)
        )

    def _names_array(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr in ARRAYS
        if not isinstance(node, ast.Name):
            return False
        if node.id in ARRAYS:
            return True
        if node.id in self.aliases:
            return self.is_array(self.aliases[node.id])
        module, name = self.imported.get(node.id, ("", ""))
        other = self.others.get(module)
        return other is not None and other._names_array(ast.Name(name))

    def class_of(self, name: str) -> tuple["Module", ast.ClassDef] | None:
        """Return the class that a name stands for, and its module, where it is one of these."""
        if name in self.classes:
            return self, self.classes[name]
        module, imported = self.imported.get(name, ("", ""))
        return self.others[module].class_of(imported) if module in self.others else None

    def bases(self, owner: ast.ClassDef) -> Iterator[ast.ClassDef]:
        """Yield the bases of a class that are among these modules, and theirs."""
        for base in owner.bases:
            node = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(node, ast.Name) and (found := self.class_of(node.id)):
                yield found[1]
                yield from found[0].bases(found[1])

    def supers(self, error: str) -> set[str]:
        """Return an exception's name and those of its bases."""
        builtin = getattr(builtins, error, None)
        if isinstance(builtin, type):
            return {base.__name__ for base in builtin.__mro__} - {"Exception", "BaseException"}
        found = self.class_of(error)
        if found is None:
            return {error}
        module, node = found
        names = [base.id for base in node.bases if isinstance(base, ast.Name)]
        return {error}.union(*(module.supers(name) for name in names))


def _without_callables(annotation: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a type but what a function takes and returns."""
    if isinstance(annotation, ast.Subscript) and getattr(annotation.value, "id", "") == "Callable":
        return
    yield annotation
    for child in ast.iter_child_nodes(annotation):
        yield from _without_callables(child)


def parse(sources: Mapping[str, tuple[str, str]]) -> dict[str, Module]:
    """Return modules, given the path and the text of each by its dotted name."""
    modules: dict[str, Module] = {}
    for name, (path, text) in sources.items():
        modules[name] = Module(name, path, ast.parse(text), modules)
    return modules


def read(root: Path, *packages: Path) -> dict[str, Module]:
    """Return the modules of some packages, with paths relative to a folder."""
    sources = {}
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            sources[name] = (str(path.relative_to(root)), path.read_text(encoding="utf-8"))
    return parse(sources)


def is_public(name: str) -> bool:
    """Whether no part of a dotted name has a leading underscore."""
    return not any(part.startswith("_") for part in name.split("."))


def findings(modules: Mapping[str, Module]) -> list[Finding]:
    """Return what the docstrings of all public names lack, but sources."""
    return [
        finding
        for module in modules.values()
        if is_public(module.name)
        for finding in _of_module(module)
    ]


def without_source(modules: Mapping[str, Module], packages: Sequence[str]) -> list[str]:
    """Return the names of the packages' modules that say of nothing where it was published."""
    return sorted(
        name
        for name, module in modules.items()
        if name.startswith(tuple(f"{package}." for package in packages))
        and not any(SOURCE.search(" ".join(text.split())) for text in _docstrings(module.tree))
    )


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _of_module(module: Module) -> Iterator[Finding]:
    if not ast.get_docstring(module.tree):
        yield Finding(module.path, 1, module.name, "no docstring")
    for function in module.functions.values():
        if is_public(function.name):
            yield from _of_function(module, function, function.name)
    for owner in module.classes.values():
        if is_public(owner.name):
            yield from _of_class(module, owner)


def _of_class(module: Module, owner: ast.ClassDef) -> Iterator[Finding]:
    docstring = Docstring.of(owner)
    if not docstring.text:
        yield Finding(module.path, owner.lineno, owner.name, "no docstring")
        return
    for node in owner.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            if is_public(name) and "ClassVar" not in ast.unparse(node.annotation):
                if name not in docstring.entries.get("Attributes", {}):
                    lacks = f"Attributes: lacks {name}"
                    yield Finding(module.path, node.lineno, owner.name, lacks)
                said = docstring.of_name(name)
                yield from _of_value(module, node.lineno, owner.name, name, node.annotation, said)
        elif isinstance(node, Function) and node.name == "__init__":
            yield from _of_function(module, node, owner.name, docstring)
        elif isinstance(node, Function) and is_public(node.name):
            inherited = any(
                isinstance(other, Function) and other.name == node.name
                for base in module.bases(owner)
                for other in base.body
            )
            name = f"{owner.name}.{node.name}"
            yield from _of_function(module, node, name, inherits=inherited, owner=owner)


def _of_function(
    module: Module,
    function: Function,
    name: str,
    docstring: Docstring | None = None,
    inherits: bool = False,
    owner: ast.ClassDef | None = None,
) -> Iterator[Finding]:
    decorators = {ast.unparse(decorator) for decorator in function.decorator_list}
    if "overload" in decorators or any(d.endswith((".setter", ".deleter")) for d in decorators):
        return
    docstring = docstring or Docstring.of(function)
    line = function.lineno
    if not docstring.text:
        yield Finding(module.path, line, name, "no docstring")
        return
    typed = [docstring.sections.get(section, "") for section in ("Returns", "Yields")]
    if any("property" in decorator for decorator in decorators):
        typed.append(docstring.prose)
    if any(TYPED.match(text.strip()) for text in typed):
        yield Finding(module.path, line, name, "a colon in the first line")
    if not inherits:
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            said = docstring.of_name(argument.arg)
            yield from _of_value(module, line, name, argument.arg, argument.annotation, said)
        if function.name != "__init__":
            said = docstring.of_result
            result = function.name
            yield from _of_value(module, line, name, result, function.returns, said, "the result")
    for error in sorted(_raised(module, function, owner)):
        if not module.supers(error) & docstring.raised:
            yield Finding(module.path, line, name, f"Raises: lacks {error}")


def _of_value(
    module: Module,
    line: int,
    owner: str,
    name: str,
    annotation: ast.expr | None,
    said: str,
    label: str | None = None,
) -> Iterator[Finding]:
    said = " ".join(said.split())
    if module.is_array(annotation) and not SHAPE.search(said):
        yield Finding(module.path, line, owner, f"no shape of {label or name}")
    has_unit = UNIT.search(f"{name.replace('_', ' ')} {said}")
    if _is_number(annotation) and QUANTITY.search(name) and not has_unit:
        yield Finding(module.path, line, owner, f"no unit of {label or name}")


def _is_number(annotation: ast.expr | None) -> bool:
    return annotation is not None and any(
        isinstance(node, ast.Name) and node.id in {"int", "float", "PositiveFloat", "PositiveInt"}
        for node in ast.walk(annotation)
    )


def _raised(module: Module, function: Function, owner: ast.ClassDef | None) -> set[str]:
    """Return what a function raises: itself, or where it calls its module, of our own errors."""
    raised = set(_own_raises(module, function))
    methods = (
        {node.name: node for node in owner.body if isinstance(node, Function)} if owner else {}
    )
    for node, tries in _statements(function):
        if not isinstance(node, ast.Call):
            continue
        called: Function | None = None
        if isinstance(node.func, ast.Name):
            called = module.functions.get(node.func.id)
        elif isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "self":
            called = methods.get(node.func.attr)
        if called is not None:
            raised |= {
                error
                for error in _own_raises(module, called)
                if error in OUR_ERRORS and _escapes(module.supers(error), tries)
            }
    return raised - UNTOLD


def _own_raises(module: Module, function: Function) -> Iterator[str]:
    for node, tries in _statements(function):
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = _error_of(module, node.exc)
            if error is not None and _escapes(module.supers(error), tries):
                yield error


def _error_of(module: Module, raised: ast.expr) -> str | None:
    """Return the class of what is raised: X, X(...), or what f(...) says that it returns."""
    called = raised.func if isinstance(raised, ast.Call) else raised
    name = getattr(called, "attr", getattr(called, "id", ""))
    if name in module.functions:
        returns = module.functions[name].returns
        return None if returns is None else ast.unparse(returns).rpartition(".")[2]
    return name if name[:1].isupper() else None  # Else a variable: raised again.


def _statements(function: Function) -> Iterator[tuple[ast.AST, list[ast.Try]]]:
    """Yield all nodes of a function but those of functions in it, each with the tries it is in."""
    for node in function.body:
        yield from _within(node, [])


def _within(node: ast.AST, tries: list[ast.Try]) -> Iterator[tuple[ast.AST, list[ast.Try]]]:
    if isinstance(node, Function | ast.Lambda | ast.ClassDef):
        return
    yield node, tries
    tried = node.body if isinstance(node, ast.Try) else []
    for child in ast.iter_child_nodes(node):
        yield from _within(child, [*tries, node] if child in tried else tries)


def _escapes(supers: set[str], tries: list[ast.Try]) -> bool:
    """Whether no ``except`` keeps an exception, given the names of its class and bases."""
    names = supers | {"Exception", "BaseException"}
    for handlers in (node.handlers for node in tries):
        handler = next(
            (h for h in handlers if h.type is None or names & set(_caught(h.type))), None
        )
        if handler is not None and not any(
            isinstance(node, ast.Raise) and node.exc is None for node in handler.body
        ):
            return False
    return True


def _caught(types: ast.expr) -> list[str]:
    named = types.elts if isinstance(types, ast.Tuple) else [types]
    return [getattr(error, "attr", getattr(error, "id", "")) for error in named]
