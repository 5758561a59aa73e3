"""Jinja2 with autoescape, and the few filters that the pages use."""

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from backend.constants import Status

HERE = Path(__file__).parent


def _moment(seconds: int | None) -> Markup | str:
    if seconds is None:
        return "-"
    when = datetime.fromtimestamp(seconds, UTC)
    text = when.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}">{} UTC</time>').format(when.isoformat(), text)


def _label(status: int) -> str:
    return Status(status).label


ENVIRONMENT = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["moment"] = _moment
ENVIRONMENT.filters["label"] = _label


def render(template: str, **values: object) -> str:
    """The page that `template` makes of `values`."""
    return ENVIRONMENT.get_template(template).render(values)
