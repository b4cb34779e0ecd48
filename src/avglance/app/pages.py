"""Pages that need nothing else: one HTML file with its style inside, everything from outside escaped.

A page has no script; its content policy allows its own style (by hash), pictures inside the file and nothing
else; it names no other place.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from avglance import __version__
from avglance.app import render

TEMPLATES = Path(__file__).with_name("templates")


def fill(template: str, *, styles: Sequence[str], **values: object) -> str:
    """The page of a template of ours.

    Args:
        template: its file name.
        styles: file names of the style sheets, in their order.
        **values: what the template shows.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    house = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    house.filters |= {"clean": render.clean, "clock": render.clock, "pct": percent}
    house.filters |= {"duration": render.duration, "gmacs": render.gmacs, "grid": render.grid_words}
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in styles)
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return house.get_template(template).render(
        style=style, style_sha256=digest, version=__version__, **values
    )


def percent(value: float) -> str:
    """A number as a percentage for a drawing.

    >>> percent(12.5)
    '12.5%'
    """
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"
