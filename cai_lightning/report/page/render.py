"""Writes a comparison as one HTML page that needs nothing else: no server, no network, no other file.

journal.replace_text(output / "index.html", render(page_of(comparison, runs, texts)))

What models wrote goes into the page as JSON in which no character can end a script; the viewer inserts it as text. The
page's policy lets the browser run and style by these very files alone, known by their digests, and load nothing.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from cai_lightning.report.page.contents import Page

TEMPLATES = Path(__file__).parents[1] / "html"
STYLES = ("page.css", "plots.css", "viewer.css")
SCRIPTS = ("texts.js", "query.js", "conversation.js", "viewer.js")


def render(page: Page) -> str:
    """The page as HTML; everything in it that is not ours is escaped."""
    style, script = _joined(STYLES), f'"use strict";\n(() => {{\n{_joined(SCRIPTS)}}})();\n'
    return (
        _environment()
        .get_template("index.html")
        .render(
            page=page,
            policy=_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            data=page_data(page.data),
        )
    )


def page_data(data: dict[str, Any]) -> Markup:
    """The data as JSON in ASCII without `<`, `>` and `&`: whatever its texts are, they cannot end the script."""
    return htmlsafe_json_dumps(data, allow_nan=False, separators=(",", ":"))


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _joined(names: tuple[str, ...]) -> str:
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
