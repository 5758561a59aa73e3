"""Writes `copr-be.conf.example` from the one table of options (`copr_be.py example-config`)."""

import textwrap

from backend.options import OPTIONS, Option

_HEAD = """\
# Configuration of copr-backend. Made from backend/options/ by `copr_be.py example-config`.
#
# Every key may be left out; the value shown is the default. An empty value means what its
# help says. Units: bytes take K, M, G or T; seconds are plain numbers.
"""


def render() -> str:
    """The whole example file: each option with its help, commented out at its default."""
    sections: dict[str, list[str]] = {}
    for option in OPTIONS:
        sections.setdefault(option.section, []).append(_entry(option))
    bodies = ["\n".join([f"[{name}]", *entries]) for name, entries in sections.items()]
    return "\n".join([_HEAD, *bodies])


def _entry(option: Option) -> str:
    text = [option.help]
    if len(option.choices) > 1:
        text.append(f"one of {', '.join(option.choices)}")
    if option.group:
        text.append("the same for group1_…, group2_…")
    lines = textwrap.wrap("; ".join(text), 96)
    key = f"group0_{option.name}" if option.group else option.name
    comment = "".join(f"# {line}\n" for line in lines)
    return f"{comment}#{key} = {option.default}".rstrip() + "\n"
