"""`copr_be.py root`: the trees that packages are built in, apart from this machine's own system."""

import time
from pathlib import Path

from backend import disk
from backend.builders import rootmake, roots
from backend.builders.rootmake import Order
from backend.commands.text import size
from backend.config import Config
from backend.constants import Exit
from backend.exceptions import ConfigError, CoprBackendError, ProtocolError


def run(config: Config, what: str, name: str | None, order: Order) -> int:
    """One of make, update, remove, list. Returns the exit code."""
    if what == "list":
        return show(config)
    if not name:
        raise ConfigError(f"root {what}: name the chroot, e.g. debian-13-x86_64")
    try:
        return {"make": make, "update": update, "remove": remove}[what](config, name, order)
    except ProtocolError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise CoprBackendError(f"root {name}: {error}") from error


def make(config: Config, name: str, order: Order) -> int:
    """A new root; one that is there already is an error."""
    if roots.read(roots.directory(config) / name):
        raise CoprBackendError(f"root {name} is there already: copr_be.py root update {name}")
    return _made(config, name, order, "restart the daemon, which then offers this chroot")


def update(config: Config, name: str, order: Order) -> int:
    """Make it anew by the same order, as far as nothing else is said."""
    about = roots.read(roots.directory(config) / name)
    if not about:
        raise CoprBackendError(f"there is no root {name}: copr_be.py root make {name}")
    old = Order.of(about)
    merged = Order(
        suite=order.suite or old.suite,
        mirror=order.mirror or old.mirror,
        repos=order.repos or old.repos,
        packages=order.packages or old.packages,
        gpgkey=order.gpgkey or old.gpgkey,
    )
    return _made(config, name, merged, "builds that start from now on use it")


def _made(config: Config, name: str, order: Order, more: str) -> int:
    began = time.monotonic()
    tree = rootmake.make(config, name, order)
    print(f"root {name} is ready in {time.monotonic() - began:.0f} s: {tree}; {more}")
    return Exit.OK


def remove(config: Config, name: str, _: Order) -> int:
    """Remove it; a tree that a build uses goes when that ends."""
    left = rootmake.remove(config, name)
    print(f"root {name} is removed{', a build still uses it' if left else ''}")
    return Exit.OK


def show(config: Config) -> int:
    """One line for each chroot and its root."""
    made = roots.made(config)
    for chroot, served in roots.served(config).items():
        if served.tree is None:
            print(f"{chroot}: this machine's own system")
        elif str(chroot) in made and served.about:
            print(f"{chroot}: {_age(served.about)}, {size(_size(served.tree))}, {served.tree}")
        else:
            print(f"{chroot}: {served.tree} (configured)")
    return Exit.OK


def _age(about: object) -> str:
    when = about.get("made", 0) if isinstance(about, dict) else 0
    return f"made {time.strftime('%Y-%m-%d %H:%M', time.localtime(when))}"


def _size(tree: Path) -> int:
    return disk.usage(tree)
