"""Jinja2 with autoescape, and the few filters that the pages use."""

import time
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from backend.constants import Status

HERE = Path(__file__).parent

#: Seconds after which a date says more than how long ago it was.
_OLD = 7 * 24 * 3600
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
#: What a page may do in a browser: nothing but show itself and ask this server.
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _moment(seconds: int | None) -> Markup | str:
    if seconds is None:
        return "-"
    when = datetime.fromtimestamp(seconds, UTC)
    text = when.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}">{} UTC</time>').format(when.isoformat(), text)


def _ago(seconds: int | None) -> Markup | str:
    """How long ago a moment was, the moment itself on hovering."""
    if seconds is None:
        return "-"
    passed = time.time() - seconds
    if passed >= _OLD:
        return _moment(seconds)
    when = datetime.fromtimestamp(seconds, UTC)
    words = f"{_rough(passed)} ago" if passed >= 1 else "just now"
    title = when.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(when.isoformat(), title, words)


def _rough(seconds: float) -> str:
    """A length of time in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _span(seconds: float | None) -> str:
    """A length of time in words."""
    if seconds is None or seconds < 0:
        return "-"
    whole = round(seconds)
    if not whole:
        return "less than 1 s"
    for size, big, small in ((86400, "d", "h"), (3600, "h", "min"), (60, "min", "s")):
        if whole >= size:
            part = {86400: 3600, 3600: 60, 60: 1}[size]
            rest = whole % size // part
            return f"{whole // size} {big} {rest} {small}" if rest else f"{whole // size} {big}"
    return f"{whole} s"


def _size(number: float | None) -> str:
    """Bytes in words."""
    if number is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def _label(status: int) -> str:
    return Status(status).label


ENVIRONMENT = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {"moment": _moment, "ago": _ago}
ENVIRONMENT.filters |= {"label": _label, "span": _span, "bytes": _size}


def render(template: str, **values: object) -> str:
    """The page that `template` makes of `values`."""
    return ENVIRONMENT.get_template(template).render(values)
