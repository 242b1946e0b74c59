"""Pictures: `qr`, a code as an SVG in a data URI, for tills that scan."""

import segno
from jinja2 import TemplateRuntimeError
from markupsafe import Markup

MAX_LENGTH = 500


def qr(value: object, scale: int = 4, img: bool = False) -> object:
    """Return a text as a QR code: the URI for `src`, or with `img=True` the whole `<img>`."""
    text = str(value)
    if not 1 <= len(text) <= MAX_LENGTH:
        raise TemplateRuntimeError(f"'qr' takes a text of 1 to {MAX_LENGTH} characters.")
    if not isinstance(scale, int) or not 1 <= scale <= 50:  # noqa: PLR2004
        raise TemplateRuntimeError("'scale' of 'qr' is a whole number from 1 to 50.")
    uri = segno.make(text, micro=False).svg_data_uri(scale=scale)
    return Markup('<img src="{}" alt="{}">').format(uri, text) if img else uri


FILTERS = {"qr": qr}
