"""The one table of options: reader, errors and example file agree."""

import dataclasses
import os
import platform
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.config import Config, Group, load
from backend.example import render
from backend.exceptions import ConfigError
from backend.options import OPTIONS

EXAMPLE = Path(__file__).parents[2] / "copr-be.conf.example"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "copr-be.conf"
    path.write_text(text)
    return path


def values(config: Config) -> dict[str, object]:
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name != "path"
    }


def test_example_file_is_the_table() -> None:
    assert EXAMPLE.read_text() == render(), "run: copr_be.py example-config >copr-be.conf.example"


def test_example_file_names_every_option_with_its_help() -> None:
    text = " ".join(EXAMPLE.read_text().replace("\n#", "").split())
    for option in OPTIONS:
        assert f"{option.name} =" in text
        assert option.help in text


def test_example_file_means_the_defaults(tmp_path: Path) -> None:
    bare = load(write(tmp_path, ""))
    assert values(load(EXAMPLE)) == values(bare)


def test_example_file_without_comment_signs_means_the_defaults_too(tmp_path: Path) -> None:
    """Each commented default can be uncommented as it stands."""
    lines = [
        line[1:] if line.startswith("#") and line[1:2] not in ("", " ") else line
        for line in EXAMPLE.read_text().splitlines()
    ]
    assert values(load(write(tmp_path, "\n".join(lines)))) == values(load(EXAMPLE))


def test_table_and_config_have_the_same_fields() -> None:
    fields = {field.name for field in dataclasses.fields(Config)} - {"path", "groups", "notes"}
    assert fields == {option.attribute for option in OPTIONS if not option.group}
    grouped = {field.name for field in dataclasses.fields(Group)} - {"id"}
    assert grouped == {option.attribute for option in OPTIONS if option.group}


def test_secrets_are_not_shown() -> None:
    secret = {option.attribute for option in OPTIONS if option.kind == "secret"}
    hidden = {field.name for field in dataclasses.fields(Config) if not field.repr}
    assert secret == hidden


def test_group_defaults_come_from_the_machine(tmp_path: Path) -> None:
    (group,) = load(write(tmp_path, "")).groups
    assert group == Group(
        id=0, name="PC", archs=(platform.machine(),), max_workers=os.cpu_count() or 1
    )


def test_groups_are_numbered(tmp_path: Path) -> None:
    text = (
        "[backend]\nbuild_groups = 2\ngroup1_name = Big\ngroup1_archs = x86_64, i686\n"
        "group1_max_workers = 0\n"
    )
    assert load(write(tmp_path, text)).groups[1] == Group(
        id=1, name="Big", archs=("x86_64", "i686"), max_workers=0
    )


def test_groups_without_a_number_of_their_own_take_max_workers(tmp_path: Path) -> None:
    text = "[backend]\nbuild_groups = 2\nmax_workers = 7\ngroup1_max_workers = 3"
    groups = load(write(tmp_path, text)).groups
    assert [group.max_workers for group in groups] == [7, 3]


def test_overrides_win(tmp_path: Path) -> None:
    path = write(tmp_path, "[web]\nport = 5001\n")
    assert load(path, {"web.port": "5002"}).web_port == 5002
    assert load(path, {"builder.timeout": "5"}).builder_timeout == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[backend]\nmax_worker = 2", "unknown key `max_worker`, perhaps `max_workers`?"),
        ("[backend]\ngroup0_max_worker = 2", "perhaps `group0_max_workers`?"),
        ("[backend]\nsleep_time = 2", "perhaps `sleeptime`?"),
        ("[backend]\nzzz = 2", "unknown key `zzz`: one of "),
        ("[backends]\nsleeptime = 2", "unknown section [backends], perhaps `backend`?"),
        ("[backend]\nsleeptime = soon", "sleeptime = soon: a whole number is needed"),
        ("[backend]\nsleeptime = 0", "must be at least 1"),
        ("[web]\nport = 65536", "must be at most 65535"),
        ("[backend]\nsleeptime = 5M", "a whole number is needed"),
        ("[builder]\nmax_log = lots", "e.g. 512M"),
        ("[backend]\nexit_on_worker = maybe", "write yes or no"),
        ("[backend]\ndestdir = results", "give an absolute path"),
        ("[backend]\nlog_level = loud", "must be one of debug, info, warning, error"),
        ("[builder]\ntype = docker", "must be one of rpmbuild"),
        ("[web]\npublic_url = copr.example.org", "write http://HOST or https://HOST"),
        ("[backend]\nfrontend_base_url = https://copr.example.org", "results_baseurl is empty"),
        ("[backend]\nsleeptime = 1\nsleeptime = 2", "already exists"),
        ("sleeptime = 1", "no section headers"),
        ("[backend", "correct that line"),
        ("[backend]\nstatedir =", "give an absolute path"),
        ("[backend]\nstatedir = ~nosuchuser/x", "statedir = ~nosuchuser/x"),
        ("[backend]\nresults_baseurl = http://[", "write http://HOST"),
        ("[web]\npublic_url = http://h:99999", "write http://HOST"),
        ("[backend]\nsleeptime = " + "9" * 5000, "a whole number is needed"),
        ("[backend]\ndestdir = /a\n /b", "write it in one line"),
        ("[backend]\ndestdir = /", "destdir = /: give it a directory of its own"),
        ("[backend]\ndestdir = /a\nstatedir = /a/../a/b", "all below destdir (/a) is published"),
        ("[backend]\ndestdir = /a\nlog_dir = /a", "choose a directory beside it"),
        ("[backend]\nredis_url = localhost:6379", "redis_url = …: write redis://"),
        ("[backend]\nredis_url = redis://h:99999", "redis_url = …: write redis://"),
        ("[backend]\nredis_url = redis://h/x", "redis_url = …: write redis://"),
        ("[backend]\nredis_url = redis://:a#b@h/0", "special characters of the password as %XX"),
        ("[backend]\nredis_url = unix:///r?db=x", "redis_url = …: write redis://"),
        ("[backend]\nfrontend_base_url = http://u:p@h", "leave that out"),
        ("[backend]\nresults_baseurl = http://h/a b", "write http://HOST or https://HOST"),
        ("[backend]\ndistgit_lookaside = {path.x}", "only {path}, {name}"),
        ("[backend]\ndistgit_lookaside = %s", "write http://HOST/…"),
        ("[backend]\ngroup0_archs = amd64", "write x86_64"),
        ("[backend]\ngroup0_archs = x86_64;i686", "write names like x86_64"),
        ("[backend]\ngroup01_name = X", "unknown key `group01_name`"),
        ("[backend]\nsleeptime = 5\u200b", r"has a character that nobody sees, '\u200b'"),
        ("[backend]\nsleeptime = \u0663", "a whole number is needed"),
        ("[backend]\ngroup0_name = a\x1b[31m", r"nobody sees, '\x1b'"),
        ("[builder]\nstall_timeout = 9999999999", "must be at most 315360000"),
        ("[builder]\ncgroup = yes", "write auto, no, or the absolute path"),
        ("[builder]\nbuild_memory = 1K", "at least 16M, or 0"),
        ("[builder]\nuid = 4294967295", "must be at most"),
        ("[web]\nhost =", "write an address, 0.0.0.0 for all"),
        ("[web]\ndistgit = fedora=https://x", "write NAME=URL with {namespace} and {package}"),
        ("[web]\ntoken_days = 99999999", "must be at most 36500"),
    ],
)
def test_errors_are_one_line_with_the_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "copr-be.conf" in str(caught.value)


def test_secrets_are_not_repeated_in_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "[backend]\nredis_url = redis://:geheim@h:x"))
    assert "geheim" not in str(caught.value)


def test_files_of_other_editors_load(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.conf"
    path.write_bytes(b"[backend]\r\nsleeptime = 7\r\n")
    assert load(path).sleeptime == 7
    path.write_bytes(b"\xef\xbb\xbf[backend]\nsleeptime = 8\ngroup0_name = 50% M\xc3\xbcller\n")
    assert (load(path).sleeptime, load(path).groups[0].name) == (8, "50% Müller")


def test_a_group_that_is_not_counted_is_noted(tmp_path: Path) -> None:
    (note,) = load(write(tmp_path, "[backend]\ngroup1_name = X\ngroup1_archs = s390x")).notes
    assert "group1_…: no effect: build_groups = 1, counted from group0" in note


def test_missing_file_names_the_example(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist: create it from copr-be\.conf\.example"):
        load(tmp_path / "none.conf")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read configuration .*: Is a directory: name a"):
        load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        ConfigError, match=r"cannot read configuration .*: it is no UTF-8 text: name"
    ):
        load(tmp_path / "binary")


def test_override_without_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"<section>\.<key>"):
        load(write(tmp_path, ""), {"port": "1"})


def refusal(path: Path, overrides: dict[str, str]) -> str:
    """The message of the ConfigError, or nothing when the options are accepted."""
    try:
        load(path, overrides)
    except ConfigError as error:
        return str(error)
    return ""


@given(
    key=st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=24),
    value=st.text(string.printable, max_size=40),
    section=st.sampled_from(["backend", "builder", "web", "other"]),
)
def test_any_override_loads_or_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, section: str, key: str, value: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "empty.conf"
    path.touch()
    message = refusal(path, {f"{section}.{key}": value})
    assert message.splitlines() in ([], [message])


NAMES = sorted((o.section, o.name) for o in OPTIONS if not o.group)


@given(name=st.sampled_from(NAMES), value=st.text(string.ascii_letters + " /:-.0", max_size=30))
def test_any_value_loads_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, name: tuple[str, str], value: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "empty.conf"
    path.touch()
    message = refusal(path, {".".join(name): value})
    assert not message or name[1] in message or "results_baseurl" in message


@given(number=st.integers(1024, 10**6), unit=st.sampled_from(["", "K", "M", "g", "KiB", "MB"]))
def test_sizes_have_units(tmp_path_factory: pytest.TempPathFactory, number: int, unit: str) -> None:
    path = tmp_path_factory.getbasetemp() / "empty.conf"
    path.touch()
    factor = 1024 ** " KMG".index((unit.upper() or " ")[0])
    config = load(path, {"builder.max_download": f"{number}{unit}"})
    assert config.builder_max_download == number * factor


def test_limits_are_read_as_copr_spells_them(tmp_path: Path) -> None:
    config = load(
        write(
            tmp_path,
            "[backend]\nbuilds_max_workers_arch = x86_64=10, aarch64=4\n"
            "builds_max_workers = 60\nblocked_owners = bad worse\n",
        )
    )
    assert config.builds_max_workers_arch == {"x86_64": 10, "aarch64": 4}
    assert (config.builds_max_workers, config.builds_max_workers_owner) == (60, 0)
    assert config.blocked_owners == ("bad", "worse")


@pytest.mark.parametrize("text", ["x86_64", "=4", "x86_64=", "x86_64=-1", "x86_64=four"])
def test_a_limit_without_name_and_number_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="write NAME=NUMBER"):
        load(write(tmp_path, f"[backend]\nbuilds_max_workers_tag = {text}\n"))
