"""What two packages differ in: real ones, changed in one place each."""

import subprocess
from pathlib import Path

import pytest

from backend.builders import reproducible
from backend.provenance import compare

pytestmark = pytest.mark.rpmbuild

SPEC = """\
Name: pair
Version: 1
Release: 1
Summary: Pair
License: MIT
BuildArch: noarch
%description
Pair
%install
mkdir -p %{buildroot}/usr/share/pair
echo %{?text}%{!?text:one} >%{buildroot}/usr/share/pair/text
chmod %{?mode}%{!?mode:644} %{buildroot}/usr/share/pair/text
ln -s %{?target}%{!?target:text} %{buildroot}/usr/share/pair/link
%{?more:touch %{buildroot}/usr/share/pair/more}
%files
/usr/share/pair
%changelog
* Thu Jan 02 2020 A <a@b.example> - 1-1
- One
"""


def made(top: Path, name: str, **macros: str) -> Path:
    place = top / name
    place.mkdir()
    (place / "pair.spec").write_text(SPEC)
    command = ["rpmbuild", "-bb", "--define", f"_topdir {place}"]
    for key, value in {**reproducible.MACROS, **macros}.items():
        command += ["--define", f"{key} {value}"]
    subprocess.run([*command, place / "pair.spec"], check=True, capture_output=True)
    return next(place.glob("RPMS/noarch/*.rpm"))


def test_each_difference_is_named(tmp_path: Path) -> None:
    base = made(tmp_path, "base")
    again = compare.files(base, made(tmp_path, "again"))
    assert (again.verdict, again.identical) == (compare.IDENTICAL, True)
    vendor = compare.files(base, made(tmp_path, "vendor", vendor="Somebody"))
    assert (vendor.verdict, vendor.identical) == (compare.HEADER, False)
    assert vendor.tags == {"Vendor": ("(none)", "Somebody")}
    assert vendor.files == {}
    other = compare.files(
        base, made(tmp_path, "other", text="other", mode="600", target="/", more="1")
    )
    assert other.verdict == compare.CONTENT
    assert other.files == {
        "/usr/share/pair/link": "size, link",
        "/usr/share/pair/more": compare.ONLY_NOW,
        "/usr/share/pair/text": "content, size, mode",
    }


def test_packages_that_only_one_side_has(tmp_path: Path) -> None:
    path = tmp_path / "x"
    found = compare.directories({"a": path}, {"b": path})
    assert [(one.name, one.verdict) for one in found] == [
        ("a", compare.ONLY_BEFORE), ("b", compare.ONLY_NOW)
    ]  # fmt: skip


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.rpm"
    for content in (b"", b"x" * 200, b"\xed\xab\xee\xdb" + bytes(92) + b"\x8e\xad\xe8\x01"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"."):
            compare.files(path, path)
