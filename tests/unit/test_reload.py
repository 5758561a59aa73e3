"""What a changed configuration means for the running daemon."""

from dataclasses import fields
from pathlib import Path

import pytest

from backend.config import Config, load
from backend.daemons.confwatch import ConfigWatch
from backend.reload import compare, stale_groups, users_of


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "copr-be.conf"
    path.write_text("[backend]\nmax_workers = 2\nbuild_groups = 2\n")
    return load(path)


def changed(config: Config, **options: str) -> Config:
    return load(config.path, {key.replace("__", "."): value for key, value in options.items()})


def test_nothing_changed(config: Config) -> None:
    change = compare(config, changed(config))
    assert not change.changed | change.pending | change.users


def test_a_bigger_group_concerns_grabber_and_sentinel(config: Config) -> None:
    change = compare(config, changed(config, backend__group1_max_workers="9"))
    assert change.users == {"jobgrab", "log"}
    assert change.config.groups[1].max_workers == 9
    assert stale_groups(config, change.config) == set()


def test_other_architectures_need_new_workers_in_that_group(config: Config) -> None:
    new = changed(config, backend__group1_archs="s390x")
    assert stale_groups(config, new) == {1}


def test_what_only_a_restart_can_change_keeps_its_old_value(config: Config) -> None:
    new = changed(config, web__port="5001", backend__log_level="debug")
    change = compare(config, new)
    assert change.pending == {"web_port"}
    assert change.config.web_port == config.web_port
    assert change.config.log_level == "debug"
    assert change.users == {"log"}


def test_the_builders_options_concern_workers(config: Config) -> None:
    change = compare(config, changed(config, builder__timeout="60"))
    assert "worker" in change.users
    assert "web" not in change.users


def test_an_option_that_the_table_does_not_know_concerns_everybody() -> None:
    assert users_of("something_new") >= {"log", "jobgrab", "web", "worker"}


def test_every_option_has_somebody_who_minds() -> None:
    """Only what the master itself looks at needs no new child."""
    nobody = {entry.name for entry in fields(Config) if not users_of(entry.name)}
    assert nobody == {"exit_on_worker", "stop_timeout", "notes"}


def test_an_edit_is_noticed_once_and_only_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.conf"
    path.write_text("a")
    watch = ConfigWatch(path)
    assert not watch.changed()
    path.write_text("ab")
    assert not watch.changed()  # perhaps more is being written
    path.write_text("abc")
    assert not watch.changed()
    assert watch.changed()
    assert not watch.changed()
    (tmp_path / "new").write_text("abc")
    (tmp_path / "new").replace(path)
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_what_somebody_has_read_is_no_news(tmp_path: Path) -> None:
    path = tmp_path / "copr-be.conf"
    path.write_text("a")
    watch = ConfigWatch(path)
    path.write_text("ab")
    watch.read_now()
    assert not watch.changed()
    assert not watch.changed()
