"""What one chroot is built with: a sandbox on its root, and what its rpm can and lacks."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from backend.builders import recipe
from backend.builders.roots import Served
from backend.builders.sandbox import Area, Sandbox
from backend.config import Config
from backend.exceptions import ToolError

_ASK = r"""
command -v rpmbuild >/dev/null || { echo NO rpmbuild; exit; }
command -v rpm2cpio >/dev/null || { echo NO rpm2cpio; exit; }
command -v cpio >/dev/null || { echo NO cpio; exit; }
rpm --version | sed 's/.* //'
[ "$(rpm -qa 2>/dev/null | head -n 1)" ] && command -v dnf >/dev/null && echo dnf || echo none
command -v eu-strip >/dev/null && command -v find-debuginfo /usr/lib/rpm/find-debuginfo.sh |
  grep -q . && echo debuginfo
rpm --eval "$1"
"""
#: What debuginfo packages take where rpm does not make them by itself.
DEBUGINFO = """\
%_enable_debug_packages 1
%install %{?_enable_debug_packages:%{?buildsubdir:%{debug_package}}}\\
%%install\\
%{nil}
"""


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """`macros` are those given to every spec; `resolves`: its root can install what is missing."""

    sandbox: Sandbox
    tree: Path | None
    version: str
    macros: str
    resolves: bool
    served: Served


def prepare(config: Config, sandbox: Sandbox, served: Served, workdir: Path) -> Workbench:
    """Ask the root what it has. Raises ToolError, with the remedy, if it cannot build."""
    trees = (served.tree,) if served.tree else ()
    box = sandbox.on(trees)
    where = str(served.tree or "this host")
    text = recipe.macros() if config.builder_macros else ""
    names = [*recipe.names(text), "_enable_debug_packages"]
    expression = " ".join(f"%{{?{name}:{name}}}" for name in names)
    with box.command(
        Area.make(config, workdir, 0), ["/bin/sh", "-c", _ASK, "sh", expression]
    ) as command:
        result = command.run(60)
    lines = result.stdout.decode("utf-8", "replace").splitlines()
    if result.code or len(lines) < 3:
        lacks = lines[0].removeprefix("NO ") if lines else ""
        if served.tree and lacks:
            raise ToolError(f"root {where} has no {lacks}: install it there, or make another root")
        raise ToolError(f"root {where} cannot be used: {lacks or result.last_line}")
    known = set(re.findall(r"\w+", " ".join(lines[2:])))
    macros = recipe.lacking(text, known)
    if config.builder_debuginfo and "_enable_debug_packages" not in known:
        if "debuginfo" not in known:
            raise ToolError(
                f"debuginfo = yes, but {where} has not what it needs: install elfutils and"
                " debugedit there"
            )
        macros += DEBUGINFO
    return Workbench(
        sandbox=box,
        tree=served.tree,
        version=lines[0],
        macros=macros,
        resolves=bool(served.about.get("shift")) and lines[1] == "dnf" and os.geteuid() == 0,
        served=served,
    )
