"""The API reference's pages, one a module, written before Sphinx looks for pages.

A package's page lists its modules, each with the first line of its docstring, which is read without
importing it. What else a page holds is up to ``sphinx.ext.autodoc``.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

from flowerbed_site import repository
from flowerbed_site.toctree import MadeToctree


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.add_directive("api-toctree", ApiToctree)
    app.connect("builder-inited", _write_pages)


class ApiToctree(MadeToctree):
    """A toctree of every package's page."""

    def entries(self) -> list[str]:
        """Return an entry a package."""
        return [f"{path.name} <api/{path.name}>" for path in packages()]


def packages() -> list[Path]:
    """Return the folders of ``common`` and of the baselines' packages."""
    baselines = (its.folder / its.package for its in repository.replications().values())
    return [repository.ROOT / "common", *baselines]


def _write_pages(_: Sphinx) -> None:
    """Write the pages; one that would be the same is left alone, so that it is not read again."""
    folder = repository.DOCS / "api"
    folder.mkdir(exist_ok=True)
    pages = {
        folder / f"{name}.rst": _page(name, path)
        for package in packages()
        for name, path in _modules(package)
    }
    for stale in set(folder.glob("*.rst")) - pages.keys():
        stale.unlink()
    for page, text in pages.items():
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _modules(path: Path, parent: str = "") -> Iterator[tuple[str, Path]]:
    """Yield a module or package and all that is in it: dotted names and paths."""
    name = f"{parent}{path.stem}"
    yield name, path
    for child in _children(path):
        yield from _modules(child, f"{name}.")


def _children(path: Path) -> list[Path]:
    """Return the packages in a package, then its modules, by name; private ones are left out."""
    children = (
        child
        for child in (path.iterdir() if path.is_dir() else ())
        if not child.name.startswith("_")
        and (child.suffix == ".py" or (child / "__init__.py").exists())
    )
    return sorted(children, key=lambda child: (child.is_file(), child.name))


def _page(name: str, path: Path) -> str:
    lines = [name, "=" * len(name), "", f".. automodule:: {name}", ""]
    children = _children(path)
    if children:
        lines += [".. list-table::", "   :widths: auto", ""]
        for child in children:
            reference = f":py:mod:`~{name}.{child.stem}`"
            lines += [f"   * - {reference}", f"     - {_first_line(child)}"]
        lines += ["", ".. toctree::", "   :hidden:", ""]
        lines += [f"   {child.stem} <{name}.{child.stem}>" for child in children]
    return "\n".join(lines).rstrip() + "\n"


def _first_line(path: Path) -> str:
    source = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]
