"""What a host is told of our configuration: how to build, and nothing else."""

import configparser
import io
from collections.abc import Mapping

from backend.builders import registry
from backend.config import Config
from backend.options import OPTIONS

#: Sections that say how to build; a builder's own section has its name.
_SHARED = ("builder",)


def builder_module(config: Config) -> str:
    """The module of the configured builder."""
    return registry().get(config.builder_type, config.builder_type).partition(":")[0]


def host_config(config: Config) -> str:
    """The configuration file for the agent. No secret is in it."""
    parser = configparser.ConfigParser(interpolation=None)
    for option in OPTIONS:
        if option.group or option.kind == "secret":
            continue
        if option.section in (*_SHARED, config.builder_type):
            if not parser.has_section(option.section):
                parser.add_section(option.section)
            parser.set(option.section, option.name, _text(getattr(config, option.attribute)))
    file = io.StringIO()
    parser.write(file)
    return file.getvalue()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, Mapping):
        return " ".join(f"{key}={one}" for key, one in value.items())
    return str(value)
