"""A build in a root of its own: a small tree, made of the host's rpm and what it needs."""

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from backend.builders import installer, resolve, rootmake
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.config import Config
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


def test_the_tree_is_let_go_when_the_build_has_ended(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[bool] = []

    def retire(_config: Config, used: Path | None) -> None:
        assert used == tree
        with rootmake._locked(used) as alone:
            free.append(alone)

    monkeypatch.setattr(rootmake, "retire", retire)
    end, log, _ = Arena(tmp_path, f"root={tree}").build(Attack("rooted", "true"))
    assert not end, log[-3000:]
    assert free == [True]


@pytest.fixture
def upper(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What packages of strangers have put on top of the root, for each build."""
    if os.geteuid():
        pytest.skip("only root installs packages for a build")
    path = tmp_path / "upper"
    path.mkdir()

    @contextlib.contextmanager
    def layer(job: installer.Job) -> Iterator[tuple[Path, ...]]:
        yield (path, tree)

    monkeypatch.setattr(resolve, "layer", layer)
    return path


def layered(tree: Path, place: Path) -> Arena:
    arena = Arena(place, f"root={tree}")
    benches = cast(RpmbuildBuilder, arena.builder)._benches
    for chroot, bench in benches.items():
        benches[chroot] = dataclasses.replace(bench, resolves=True)
    return arena


def test_etc_of_a_layer_and_of_its_root_are_one(tree: Path, tmp_path: Path, upper: Path) -> None:
    for top, name in ((tree, "root"), (upper, "layer")):
        (top / "etc/conf.d").mkdir(parents=True, exist_ok=True)
        (top / "etc/conf.d" / name).write_text(name)
    (upper / "etc/group").write_text("strangers:x:77:\n")
    arena = layered(tree, tmp_path)
    for _ in range(3):
        end, log, _ = arena.build(Attack("layered", "cat /etc/conf.d/* /etc/group /etc/os-release"))
        assert not end, log[-3000:]
        assert "layerrootstrangers:x:77:\nbuilder:x:1000:\nID=tiny" in log


def test_a_layer_that_breaks_the_shell_is_not_tried_for_ever(
    tree: Path, tmp_path: Path, upper: Path
) -> None:
    (upper / "usr/bin").mkdir(parents=True)
    (upper / "usr/bin/bash").write_text("#!/usr/bin/nothing\n")
    (upper / "usr/bin/bash").chmod(0o755)
    end, _, _ = layered(tree, tmp_path).build(Attack("broken"))
    assert end.startswith("KILLED the sandbox did not start")


def test_a_layer_writes_nowhere_while_its_packages_are_listed(
    tree: Path, tmp_path: Path, upper: Path
) -> None:
    (upper / "usr/bin").mkdir(parents=True)
    (upper / "usr/bin/bash").write_text("""#!/usr/bin/dash
case "$*" in *"rpm -qa"*)
    for place in /builddir /tmp /var/tmp /builddir/results; do echo x >$place/listed; done
esac
exec /usr/bin/dash "$@"
""")
    (upper / "usr/bin/bash").chmod(0o755)
    places = "/builddir/listed /tmp/listed /var/tmp/listed /builddir/results/listed"
    script = f"for f in {places}; do [ ! -e $f ]; done; echo NONE"
    end, log, _ = layered(tree, tmp_path).build(Attack("listed", script))
    assert not end, log[-3000:]
    assert "\nNONE\n" in log


def test_a_tree_without_rpmbuild_is_named(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tree, other, symlinks=True)
    (other / "usr/bin/rpmbuild").unlink()
    with pytest.raises(Exception, match=f"root {other} has no rpmbuild"):
        Arena(tmp_path, f"root={other}")
