"""The settings of `make docs`."""

from __future__ import annotations

import ast
import enum
import re
import tomllib
import typing
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from pydantic import BaseModel
from sphinx.domains.python import PyObject

import rescalehtc
from rescalehtc import models, types

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
URLS = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["urls"]

project = "rescalehtc"
author = "the rescalehtc project"
release = version = rescalehtc.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_llm.txt",  # writes llms.txt and a Markdown twin of each page
]
exclude_patterns = ["README.md"]
nitpicky = False
smartquotes_action = "qe"  # not dashes, because options begin with --
default_role = "py:obj"  # `name` in a docstring is a link if the name exists

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autoclass_content = "both"  # the docstrings of the class and of __init__
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_inherit_docstrings = False
autodoc_type_aliases = {
    name: f"rescalehtc.models.{name}" for name in types.__all__ if not name.endswith("Dict")
}
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
html_search_scorer = str(Path(__file__).with_name("_static") / "scorer.js")
html_theme_options = {
    "source_repository": URLS["Source"],
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"
llms_txt_description = "A typed SDK, command line and emulator for Rescale's HTC service."
llms_txt_build_parallel = False
llms_txt_suffix_mode = "append"  # page.html.md
llms_txt_suppress_unknown_node_warnings = True  # such as "*" and "/" in signatures
pygments_style = "tango"
pygments_dark_style = "github-dark"


NAME = re.compile(r"``|`[\w.]+`$")


def in_rst(
    _app: Sphinx, what: str, _name: str, obj: object, _options: object, lines: list[str]
) -> None:
    """Convert docstrings: their backticks and indented blocks have the meaning of Markdown."""
    text = "\n".join(lines)
    if what == "module" and "GENERATED" in text:  # the page introduces the module
        text = ""
    text = re.sub(r"^Create new instance of .*", "", text, flags=re.MULTILINE)  # of named tuples
    # Only names can be links.
    text = re.sub(
        r"``[^`]+``|`[^`]+`", lambda one: one[0] if NAME.match(one[0]) else f"`{one[0]}`", text
    )
    lines[:] = text.split("\n")
    before = ""  # the last non-empty line
    code = False
    found: list[str] = []
    for line in lines:
        is_first = not code and found and not found[-1] and before[:1] not in ("", " ", "-")
        if is_first and line.startswith("    "):
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
    # napoleon parses the text before a colon in an attribute's first line as its type.
    lines[:] = ["..", "", *found] if what == "attribute" else found


def refer(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Show a sentence in a section "Raises" as a sentence, not as the name of an exception."""
    lines[:] = [re.sub(r"^:raises (The same .*):$", r":Raises: \1", line) for line in lines]


def finish(_app: Sphinx, document: nodes.document) -> None:
    """Use dashes in lists of parameters, omit comments, and add the first sentence as metadata."""
    for text in [*document.findall(nodes.Text)]:
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))
    for raw in [*document.findall(nodes.raw)]:
        if raw.astext().startswith("<!--"):
            raw.parent.remove(raw)
    for paragraph in document.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if isinstance(paragraph.parent, nodes.section) and not text.startswith("The examples use"):
            sentence = re.sub(":$", ".", re.split(r"(?<=\.)\s", text)[0])
            document.insert(0, nodes.meta(name="description", content=sentence))
            break


def skip(
    _app: Sphinx, what: str, name: str, obj: object, _skip: bool, _options: object
) -> bool | None:
    """Omit the fields of named tuples, which their class describes, and constants of modules."""
    is_field = (obj.__doc__ or "").startswith("Alias for field number")
    return True if is_field or (what == "module" and name.isupper()) else None


def without_constraints() -> None:
    """Remove ranges from annotations, because docstrings have them and `Annotated` is long."""
    BaseModel.__init__.__doc__ = object.__init__.__doc__  # do not repeat it for each model
    for model in vars(models).values():
        if (
            isinstance(model, type)
            and issubclass(model, BaseModel)
            and model.__module__ == models.__name__
        ):
            hints = typing.get_type_hints(model)
            model.__annotations__ = {name: hints[name] for name in model.__annotations__}


def with_names_of_enumerations() -> None:
    """Show enumerations in typed dictionaries by their names, not by all of their values."""
    for node in ast.parse(Path(types.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            getattr(types, node.name).__annotations__ = {
                ast.unparse(field.target): ast.unparse(field.annotation)
                for field in node.body
                if isinstance(field, ast.AnnAssign)
            }


def setup(app: Sphinx) -> None:
    """Connect the functions above to Sphinx."""
    without_constraints()
    with_names_of_enumerations()
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-docstring", in_rst, priority=100)  # before napoleon runs
    app.connect("autodoc-process-docstring", refer, priority=900)  # after it
    app.connect("autodoc-skip-member", skip)
    app.connect("doctree-read", finish)
