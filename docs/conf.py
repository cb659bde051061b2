"""How `make docs` builds the site."""

from __future__ import annotations

import enum
import typing
from typing import TYPE_CHECKING

from pydantic import BaseModel

import rescalehtc
from rescalehtc import models

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "rescalehtc"
author = "the rescalehtc project"
release = version = rescalehtc.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["README.md"]
nitpicky = False
default_role = "py:obj"  # `name` in a docstring is a link where there is such a name

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autoclass_content = "both"  # what a class is, and how it is made
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_use_ivar = True
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"rescalehtc {release}"
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_style = "tango"


def in_rst(
    _app: Sphinx, what: str, _name: str, obj: object, _options: object, lines: list[str]
) -> None:
    """Make indented blocks of docstrings, which Markdown takes for code, code for Sphinx too."""
    before = ""  # the last line that is not empty
    code = False
    found: list[str] = []
    for line in lines:
        if line.startswith("    ") and found and not found[-1] and before[:1] not in ("", " ", "-"):
            language = "text" if what == "module" and "──" in "".join(lines) else "python"
            found += [f".. code-block:: {language}", ""]
            code = True
        elif line and not line.startswith(" "):
            code = False
        if line and not code:
            before = line
        found.append(line)
    if isinstance(obj, type) and issubclass(obj, enum.Enum):
        found += ["One of " + ", ".join(f"``{member.value}``" for member in obj) + ".", ""]
    # Of an attribute's first line napoleon takes what is before a colon for the type.
    lines[:] = ["..", "", *found] if what == "attribute" else found


def skip(
    _app: Sphinx, _what: str, _name: str, obj: object, _skip: bool, _options: object
) -> bool | None:
    """Leave out the fields of named tuples, which their class describes."""
    return True if (obj.__doc__ or "").startswith("Alias for field number") else None


def without_constraints() -> None:
    """Leave the ranges of fields to their docstrings: `Annotated` is long to read."""
    BaseModel.__init__.__doc__ = object.__init__.__doc__  # not to be repeated for each model
    for model in vars(models).values():
        if (
            isinstance(model, type)
            and issubclass(model, BaseModel)
            and model.__module__ == models.__name__
        ):
            hints = typing.get_type_hints(model)
            model.__annotations__ = {name: hints[name] for name in model.__annotations__}


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    without_constraints()
    app.connect("autodoc-process-docstring", in_rst, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", skip)
