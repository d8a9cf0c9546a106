"""Sphinx configuration of the documentation site: `make docs`."""

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_extensions"))

from flowerbed_site.api_pages import packages  # noqa: E402  It is beside this file.

_project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Flowerbed"
author = _project["authors"][0]["name"]
project_copyright = author
release = version = _project["version"]

extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "flowerbed_site",
]
exclude_patterns = ["_build"]

# GitHub's rule for the anchors of headings, so that links work there and here.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

html_theme = "furo"
html_title = "Flowerbed"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
# Fetched from the pages, which a browser does not allow where the site is opened as a file.
html_show_search_summary = False
# A reader copies commands, not their prompts and what they print.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"

napoleon_numpy_docstring = False
# The attributes of a class as one list; else those of a dataclass are described twice.
napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    # Packages export functions under the names of their modules; each is described in its module.
    "ignore-module-all": True,
    "exclude-members": "model_config",
}
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 88

# A reference to a name of ours must resolve.
nitpicky = True
_ours = "|".join(path.name for path in packages())
nitpick_ignore_regex = [
    # Those of other projects: there is no network to look their pages up in.
    (r"py:\w+", rf"(?!(?:{_ours})\.)\w+\..*"),
    (r"py:class", r"NDArray|ArrayLike|dict\[str|Names|Panels"),
    (r"py:exc", r"RayError|HydraException"),
    # Type variables, and a union of pydantic's.
    (r"py:class", r"common\..*\.(?:Item|Result|Config|Keys|~.*)"),
]
