"""A build in a root of its own: a small tree, made of the host's rpm and what it needs."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.arena import Arena
from tests.hostile.attack import Attack

pytestmark = pytest.mark.rpmbuild

PROGRAMS = (
    "sh bash dash rpm rpmbuild rpm2cpio rpmkeys cpio sed head grep cat mkdir rm chmod chown find"
    " xargs id ls tail sort file mv ln"
)


def copy(name: str, tree: Path) -> None:
    """One file of the host, below the tree under its own name, and the libraries it needs."""
    source = Path(os.path.realpath(name))
    target = tree / re.sub(r"^/(lib\w*|bin|sbin)/", r"usr/\1/", name).lstrip("/")
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    found = subprocess.run(["ldd", source], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(?:=> |^\s*)(/\S+)", found, re.M):
        copy(library, tree)


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="root-") as top:
        made = Path(top, "tree")
        for name in PROGRAMS.split():
            path = shutil.which(name, path="/usr/bin:/bin:/usr/sbin")
            if path:
                copy(path, made)
        for name in ("lib", "lib64", "bin"):
            (made / "usr" / name).mkdir(exist_ok=True)
            (made / name).symlink_to(f"usr/{name}")
        shutil.copytree("/usr/lib/rpm", made / "usr/lib/rpm", symlinks=True, dirs_exist_ok=True)
        (made / "etc").mkdir()
        (made / "etc/os-release").write_text("ID=tiny\nVERSION_ID=7\n")
        yield made


def test_a_package_is_built_in_it(tree: Path, tmp_path: Path) -> None:
    arena = Arena(tmp_path, f"root={tree}")
    assert [str(chroot).rpartition("-")[0] for chroot in arena.builder.chroots()] == ["tiny-7"]
    script = "cat /etc/os-release; ls /usr/bin; (echo x >/usr/bin/x) || echo CLOSED"
    end, log, _ = arena.build(Attack("rooted", script))
    assert not end, log[-3000:]
    assert "ID=tiny" in log
    assert "CLOSED" in log
    assert "perl" not in log


def test_a_tree_without_rpmbuild_is_named(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tree, other, symlinks=True)
    (other / "usr/bin/rpmbuild").unlink()
    with pytest.raises(Exception, match=f"root {other} has no rpmbuild"):
        Arena(tmp_path, f"root={other}")
