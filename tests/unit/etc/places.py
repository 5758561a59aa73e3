"""What tests of /etc look at."""

from pathlib import Path

from backend import config
from backend.builders import etc
from backend.builders.view import Root


def shown(settings: config.Config, area: Path, tree: Path, *, net: bool = False) -> Path:
    """The directory that a build in `area` sees."""
    root = Root(trees=(tree,), shown="{}/root")
    etc.show(settings, root, net=net, area=area, slot=3)  # the first is made inside
    first = etc.show(settings, root, net=net, area=area, slot=3)[:3]
    assert first[0] == "--ro-bind"
    assert first[2] == "/etc"
    return area / str(first[1]).removeprefix("{}/")


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}
