"""/etc of the builds: what is in it."""

import errno
import os
from pathlib import Path

import pytest

from backend import config
from backend.builders import etc, etcplan, view
from backend.builders.view import HOST, Root
from backend.exceptions import BuildError, ToolError
from tests.unit.etc.places import names, shown


def test_of_the_host_it_is_an_allowlist(settings: config.Config, area: Path) -> None:
    for _ in range(2):
        words = etc.show(settings, HOST, net=False, area=area, slot=0)
    seen = names(area / str(words[1]).removeprefix("{}/"))
    assert {"passwd", "hosts", "mtab", "nsswitch.conf"} <= seen
    assert not {"shadow", "ssh", "copr", "ssl/private", "sudoers"} & seen
    for path in seen & {"os-release", "ld.so.cache", "services"}:
        real = area / str(words[1]).removeprefix("{}/") / path
        assert real.is_symlink() or real.read_bytes() == Path("/etc", path).read_bytes()


def test_everybody_can_read_it_whatever_the_umask(
    settings: config.Config, area: Path, tree: Path
) -> None:
    (tree / "etc/profile.d").mkdir()
    (tree / "etc/profile.d/a.sh").write_text("a\n")
    (tree / "etc/profile.d/a.sh").chmod(0o755)
    before = os.umask(0o077)
    try:
        place = shown(settings, area, tree)
    finally:
        os.umask(before)
    modes = {name: (place / name).lstat().st_mode & 0o777 for name in names(place) - {"mtab"}}
    assert modes["profile.d/a.sh"] == modes["profile.d"] == place.stat().st_mode & 0o777 == 0o755
    assert modes["passwd"] == 0o644


def test_of_a_root_all_but_its_accounts_and_what_is_closed(
    settings: config.Config, area: Path, tree: Path
) -> None:
    for name, text in {"os-release": "ID=x\n", "shadow": "secret\n", "closed": "secret\n"}.items():
        (tree / "etc" / name).write_text(text)
    (tree / "etc/closed").chmod(0o600)
    (tree / "etc/link").symlink_to("/root/.ssh")
    (tree / "etc/passwd").write_text("bin:x:1:1::/:/bin/sh\nme:x:1001:1001::/:/bin/sh\n")
    place = shown(settings, area, tree)
    assert (place / "os-release").read_text() == "ID=x\n"
    assert not {"shadow", "closed"} & names(place)
    assert (place / "link").readlink() == Path("/root/.ssh")
    assert (place / "passwd").read_text() == (
        "bin:x:1:1::/:/bin/sh\nbuilder:x:1000:1000::/builddir:/bin/bash\n"
    )


def test_a_link_in_place_of_etc_shows_nothing_of_the_machine(
    settings: config.Config, area: Path, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/etc").symlink_to("/etc")
    place = shown(settings, area, tmp_path / "root")
    assert names(place) == {
        *("passwd", "group", "nsswitch.conf", "hostname", "hosts", "resolv.conf", "mtab"),
    }
    assert (place / "group").read_text() == "builder:x:1000:\n"


def test_what_is_large_is_mounted_on_an_entry_of_its_kind(
    settings: config.Config, area: Path, tree: Path
) -> None:
    (tree / "etc/many").mkdir()
    for number in range(20):
        (tree / "etc/many" / str(number)).touch()
    (tree / "etc/large").write_bytes(bytes(1024**2))
    root = Root(trees=(tree,), shown="{}/root")
    for _ in range(2):
        words = etc.show(settings, root, net=False, area=area, slot=0)
    place = area / str(words[1]).removeprefix("{}/")
    assert words[3:] == [
        *("--ro-bind-try", "{}/root/etc/large", "/etc/large"),
        *("--ro-bind-try", "{}/root/etc/many", "/etc/many"),
    ]
    assert (place / "large").is_file()
    assert list((place / "many").iterdir()) == []


def test_the_resolver_is_told_only_with_network(
    settings: config.Config, area: Path, tree: Path
) -> None:
    assert (shown(settings, area, tree) / "resolv.conf").read_text() == ""
    with_network = shown(settings, area, tree, net=True) / "resolv.conf"
    machine = Path("/etc/resolv.conf")
    assert with_network.read_bytes() == (machine.read_bytes() if machine.exists() else b"")


def test_where_nothing_is_kept_bubblewrap_makes_the_same(
    settings: config.Config, area: Path, tree: Path, tmp_path: Path
) -> None:
    (tree / "etc/profile.d").mkdir()
    (tree / "etc/profile.d/a.sh").write_text("a\n")
    (tree / "etc/link").symlink_to("profile.d")
    root = Root(trees=(tree,), shown="{}/root")
    words = etc.show(settings, root, net=False, area=tmp_path, slot=3)
    place = shown(settings, area, tree)
    assert words[:2] == ["--symlink", "profile.d"]
    made = {str(word) for word in words if str(word).startswith("/etc/")}
    assert made == {f"/etc/{name}" for name in names(place)}
    assert words[words.index(b"a\n") - 3 :][:5] == [
        *("--perms", "644", "--file", b"a\n", "/etc/profile.d/a.sh"),
    ]
    assert not (tmp_path / "etc").exists()


def test_a_full_disk_is_told_and_what_vanishes_meanwhile_is_not(
    settings: config.Config, area: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "etc/issue").write_text("one\n")
    trouble: list[OSError] = [OSError(28, "No space left on device")]

    def content(piece: etcplan.Piece) -> bytes:
        if piece.path == "issue":
            raise trouble[0]
        return b""

    monkeypatch.setattr(etcplan.Piece, "content", content)
    with pytest.raises(OSError, match="No space left"):
        shown(settings, area, tree)
    trouble[0] = FileNotFoundError(2, "No such file or directory")
    assert "issue" not in names(shown(settings, area, tree))


@pytest.mark.parametrize("place", ["ssl", "pki", "pki/tls"])
def test_a_link_of_a_root_changes_nothing_where_it_leads(
    place: str, settings: config.Config, area: Path, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    (tree / "etc" / place).parent.mkdir(exist_ok=True)
    (tree / "etc" / place).symlink_to(tmp_path / "closed")
    assert (shown(settings, area, tree) / place).is_symlink()
    assert (tmp_path / "closed").stat().st_mode & 0o777 == 0o700


def test_the_directories_of_the_host_of_which_a_part_is_shown_are_open(
    settings: config.Config, area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcplan, "_allowed", lambda: ["pki/tls/none", "ssl/none"])
    monkeypatch.setattr(etcplan, "_plans", {})
    before = os.umask(0o077)
    try:
        for _ in range(2):
            words = etc.show(settings, HOST, net=False, area=area, slot=0)
    finally:
        os.umask(before)
    place = area / str(words[1]).removeprefix("{}/")
    for name in ("pki", "pki/tls", "ssl"):
        assert (place / name).stat().st_mode & 0o777 == 0o755


def test_what_a_layer_has_in_etc_is_mounted_and_not_read(
    settings: config.Config, area: Path, tree: Path, tmp_path: Path
) -> None:
    """A directory of a layer hides none of the root's: both are in the mounted one."""
    upper = tmp_path / "upper"
    for top, name in ((tree, "base"), (upper, "more")):
        (top / "etc/conf.d").mkdir(parents=True)
        (top / "etc/conf.d" / name).touch()
    (tree / "etc/issue").write_text("root's\n")
    (upper / "etc/file").write_text("a stranger's\n")
    (upper / "etc/link").symlink_to("/root")
    os.mkfifo(upper / "etc/fifo")
    root = Root(trees=(upper, tree), shown="{}/root")
    for _ in range(2):
        words = etc.show(settings, root, net=False, area=area, slot=3)
    place = area / str(words[1]).removeprefix("{}/")
    assert words[3:] == [
        *("--ro-bind-try", "{}/root/etc/conf.d", "/etc/conf.d"),
        *("--ro-bind-try", "{}/root/etc/file", "/etc/file"),
    ]
    assert list((place / "conf.d").iterdir()) == []
    assert (place / "file").read_bytes() == b""
    assert (place / "issue").read_text() == "root's\n"
    assert (place / "link").readlink() == Path("/root")
    assert not (place / "fifo").exists()


@pytest.mark.parametrize("layered", [False, True])
def test_a_crowd_of_entries_is_refused(
    layered: bool, settings: config.Config, area: Path, tree: Path, tmp_path: Path
) -> None:
    for number in range(view.MOST_NAMES + 1):
        (tree / f"etc/{number}").touch()
    (tmp_path / "base/etc").mkdir(parents=True)
    trees = (tree, tmp_path / "base") if layered else (tree,)
    kind = BuildError if layered else ToolError
    with pytest.raises(kind, match="/etc has more than 1000 entries"):
        etc.show(settings, Root(trees=trees, shown="{}/root"), net=False, area=area, slot=3)


def test_odd_accounts_are_no_trouble(settings: config.Config, area: Path, tree: Path) -> None:
    lines = ["a:x:²:1::/:/bin/sh", f"b:x:{'1' * 5000}:1::/:/bin/sh", "c:x:1", "\xff:x:7:7::/:/x"]
    (tree / "etc/passwd").write_bytes("\n".join(lines).encode("latin-1"))
    with (tree / "etc/group").open("wb") as file:
        file.write(b"first:x:1:\n")
        file.truncate(1 << 40)
    place = shown(settings, area, tree)
    assert (place / "passwd").read_text().splitlines() == [
        *("c:x:1", "�:x:7:7::/:/x", "builder:x:1000:1000::/builddir:/bin/bash"),
    ]
    assert (place / "group").read_text() == "first:x:1:\nbuilder:x:1000:\n"


def test_odd_names_are_shown_as_they_are(
    settings: config.Config, area: Path, tree: Path, tmp_path: Path
) -> None:
    odd = [b"new\nline", b"-rf", b"\xff\xfe", b"{}", b" ", b"*", b"'", b"etc-x", b"x" * 255]
    top = os.fsencode(tree / "etc")
    for name in odd:
        Path(os.fsdecode(top + b"/" + name)).write_bytes(name)
        Path(os.fsdecode(top + b"/d" + name[:254])).symlink_to(os.fsdecode(b"{}/" + name))
    place = shown(settings, area, tree)
    seen = dict.fromkeys(os.listdir(os.fsencode(place)))  # noqa: PTH208
    for name in odd:
        assert Path(os.fsdecode(os.fsencode(place) + b"/" + name)).read_bytes() == name
        assert b"d" + name[:254] in seen
    words = etc.show(settings, Root(trees=(tree,), shown=""), net=False, area=tmp_path, slot=3)
    links = [words[i + 1] for i, word in enumerate(words) if word == "--symlink"]
    assert "./{}/-rf" in links
    assert not [link for link in links if str(link).startswith("{}")]


def test_many_files_are_no_descriptors(
    settings: config.Config, area: Path, tree: Path, tmp_path: Path
) -> None:
    for number in range(300):
        (tree / f"etc/{number}").write_text(str(number))
    root = Root(trees=(tree,), shown="/")
    first = etc.show(settings, root, net=False, area=area, slot=3)
    elsewhere = tmp_path / "elsewhere"  # as on a host
    elsewhere.mkdir()
    for words, there in (
        (first, area),
        (etc.show(settings, root, net=False, area=elsewhere, slot=3), elsewhere),
    ):
        assert words[0] == "--ro-bind"
        assert len(words) == 3
        place = there / str(words[1]).removeprefix("{}/")
        assert (place / "299").read_text() == "299"
    etc.take_back(settings, elsewhere, 3)
    assert not (settings.statedir / "sandbox-etc").exists()


def test_a_passing_error_is_not_taken_for_a_missing_entry(
    settings: config.Config, area: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "etc/issue").write_text("x")

    def exhausted(*_: object) -> list[object]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(etcplan, "_copied", exhausted)
    with pytest.raises(OSError, match="Too many open files"):
        etc.show(settings, Root(trees=(tree,), shown="/"), net=False, area=area, slot=3)
