"""The text of `copr-be.conf`: sections of keys, before anybody knows what they mean."""

import configparser
from collections.abc import Mapping
from pathlib import Path

from backend.exceptions import ConfigError


def sections(path: Path, overrides: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Section → key → text in the file at `path`; `overrides`, `section.key` → text, win over it.

    Raises ConfigError when it cannot be read, or is no such file.
    """
    parser = _parse(path)
    for dotted, value in overrides.items():
        section, dot, key = dotted.partition(".")
        if not dot:
            raise ConfigError(f"option {dotted!r}: write <section>.<key>=<value>")
        if not parser.has_section(section):
            parser.add_section(section)
        parser.set(section, key, value)
    return {name: dict(parser.items(name)) for name in parser.sections()}


def _parse(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except FileNotFoundError:
        raise ConfigError(
            f"configuration {path} does not exist: create it from copr-be.conf.example,"
            " or name another file with -c"
        ) from None
    except PermissionError as error:
        raise ConfigError(
            f"cannot read configuration {path}: {error.strerror}:"
            " run this as root or as the daemon's user, or name a readable file with -c"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot read configuration {path}: {error.strerror}: name a readable file with -c"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"cannot read configuration {path}: it is no UTF-8 text: name another file with -c"
        ) from error
    except configparser.Error as error:
        raise ConfigError(f"{' '.join(str(error).split())}: correct that line") from error
    return parser
