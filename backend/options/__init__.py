"""Every option of `copr-be.conf`: the one table that reader, errors and documentation share.

A new option is one line in the file of its subject; `copr-be.conf.example` is made from this
table (`copr_be.py example-config`), and a test compares the two.
"""

from typing import Final

from backend.options import building, daemon, groups, hosts, publishing, web
from backend.options.option import Option

__all__ = ["OPTIONS", "Option"]

_PARTS = (daemon, groups, building, hosts, web, publishing)
OPTIONS: Final[tuple[Option, ...]] = tuple(option for part in _PARTS for option in part.OPTIONS)
