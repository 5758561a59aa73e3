"""Configuration files of other backends, as people have them in /etc/copr."""

import re
from pathlib import Path

import pytest

from backend.commands import check
from backend.config import Config, load
from backend.exceptions import ConfigError
from backend.options import OPTIONS

TODAY = """\
[backend]
results_baseurl=https://copr-be.example.org/results
frontend_base_url=http://copr-fe.example.org
frontend_auth=secret
destdir=/var/lib/copr/public_html/results
statsdir=/var/lib/copr/public_html/stats
sleeptime=30
resalloc_connection=http://localhost:49100
builds_max_workers=60
builds_max_workers_arch=x86_64=10,ppc64le=12
builds_max_workers_owner=20
builds_max_workers_sandbox=10
actions_max_workers=10
fedmsg_enabled=false
do_sign=false
keygen_host=example.com
sign_domain=fedorahosted.org
prune_days=14
prune_workers = 16
log_dir=/var/log/copr-backend/
log_level=INFO
log_format=[%(asctime)s][%(levelname)6s] %(message)s
redis_host=10.0.0.1
redis_port=6380
redis_db=2
redis_password=p@ss

[builder]
timeout=3600
consecutive_failure_threshold=10

[ssh]
builder_config=/home/copr/.ssh/config
"""

CLASSIC = """\
[backend]
results_baseurl=http://copr-be.example.org/results
frontend_url=http://copr-fe.example.org/backend
frontend_auth=secret
build_groups=2
group0_name=PC
group0_archs=i386,x86_64
group0_spawn_playbook=/srv/copr-work/provision/builderpb-PC.yml
group0_terminate_playbook=/srv/copr-work/provision/terminatepb-PC.yml
group0_max_workers=8
group1_name=ARM
group1_archs=armV7
group1_max_vm_total=3
group1_vm_spawn_min_interval=30
destdir=/var/lib/copr/public_html/results
exit_on_worker=false
sleeptime=10
worker_logdir=/var/log/copr/workers/
logfile=/var/log/copr/backend.log
spawn_vars=a,b
fedmsg_enabled=true

[builder]
timeout=1800
"""


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "copr-be.conf"
    path.write_text(text)
    return load(path)


def noted(config: Config, word: str) -> list[str]:
    return [note for note in config.notes if f" {word} " in f"{note} ".replace(",", " ")]


def test_todays_file_loads(tmp_path: Path) -> None:
    config = read(tmp_path, TODAY)
    assert config.frontend_base_url == "http://copr-fe.example.org"
    assert config.redis_url == "redis://:p%40ss@10.0.0.1:6380/2"
    assert config.builds_max_workers == 60
    assert config.builds_max_workers_arch == {"x86_64": 10, "ppc64le": 12}
    assert config.actions_max_workers == 10
    assert (config.builder_timeout, config.sleeptime) == (3600, 30)
    assert (config.log_level, config.prune_days) == ("info", 14)
    for key in (
        *("statsdir", "resalloc_connection", "fedmsg_enabled", "do_sign"),
        *("keygen_host", "sign_domain", "prune_workers"),
        *("log_format", "redis_host", "log_level", "consecutive_failure_threshold"),
        *("builder_config",),
    ):
        assert len(noted(config, key)) == 1, key
    assert not any("p@ss" in note or "p%40ss" in note for note in config.notes)


def test_the_file_of_2015_loads(tmp_path: Path) -> None:
    config = read(tmp_path, CLASSIC)
    assert config.frontend_base_url == "http://copr-fe.example.org"
    assert [(g.name, g.archs, g.max_workers) for g in config.groups] == [
        ("PC", ("i386", "x86_64"), 8),
        ("ARM", ("armV7",), 3),
    ]
    assert str(config.log_dir) == "/var/log/copr/workers"
    assert not config.exit_on_worker
    assert len(noted(config, "logfile")) == 1
    assert "log_dir is set" in noted(config, "logfile")[0]
    for key in ("frontend_url", "worker_logdir", "group0_spawn_playbook", "group1_max_vm_total",
                "group1_vm_spawn_min_interval", "spawn_vars"):  # fmt: skip
        assert len(noted(config, key)) == 1, key


RARE = """\
[backend]
results_baseurl=http://copr-be.example.org/results
frontend_base_url=http://copr-fe.example.org
frontend_auth=secret
build_user=root
dist_git_url=http://distgit-httpd/cgit
pulp_content_url=http://pulp:80/pulp/content
sentry_dsn=https://key@sentry.example.org/1
jobsdir=/srv/copr-work/jobs
error_logfile=/var/log/copr/backend_error.log
spawn_in_advance=true
max_spawn_processes=2
group0_max_builds_per_vm=1
prune_script=/usr/bin/copr_prune_results.py
build_deleting_without_createrepo=no
daemonize=true
verbose=false

[builder]
timeout=3600
builder_perl=True
builder_deprecated=True
"""


def test_keys_of_containers_and_of_the_years_between_get_one_warning_each(tmp_path: Path) -> None:
    config = read(tmp_path, RARE)
    assert config.builder_timeout == 3600
    ours = {"results_baseurl", "frontend_base_url", "frontend_auth", "timeout"}
    keys = {line.partition("=")[0] for line in RARE.splitlines() if "=" in line} - ours
    assert len(config.notes) == len(keys) == 15
    for key in keys:
        assert len(noted(config, key)) == 1, key


def test_an_own_key_wins_over_an_old_one(tmp_path: Path) -> None:
    text = "[backend]\nredis_url = redis://here/0\nredis_host = there\nnum_workers = 3\n"
    config = read(tmp_path, text + "max_workers = 5\n")
    assert config.redis_url == "redis://here/0"
    assert config.max_workers == 5
    assert len(config.notes) == 2


def test_a_file_in_our_own_words_has_no_notes(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "copr-be.conf.example"
    assert read(tmp_path, example.read_text()).notes == ()


@pytest.mark.parametrize("key", ["redis_hots", "group0_max_vm", "fedmsg", "prune"])
def test_misspelt_keys_are_still_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        read(tmp_path, f"[backend]\n{key} = 1\n")


def test_check_shows_what_became_of_each_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "copr-be.conf"
    path.write_text(TODAY)
    check.run(path, {}, None, as_json=False)
    out = capsys.readouterr().out
    assert "statsdir has no effect" in out
    assert "redis_host" in out


def test_what_takes_the_place_of_old_keys_exists(tmp_path: Path) -> None:
    notes = " ".join((*read(tmp_path, TODAY).notes, *read(tmp_path, CLASSIC).notes))
    known = {(option.section, option.name) for option in OPTIONS}
    named = re.findall(r"\[(\w+)\] ([a-z]\w+) (?:and|take|announce)", notes)
    named += [("backend", name) for name in re.findall(r"group<N>_(\w+)", notes)]
    assert ("hosts", "ssh_config") in named
    assert ("backend", "resalloc_connection") in named
    assert ("webhook", "url") in named
    assert set(named) <= known


def test_signing_of_today_is_taken_over(tmp_path: Path) -> None:
    config = read(tmp_path, TODAY.replace("do_sign=false", "do_sign=true"))
    assert config.signing_backend == "obs-sign"
    assert config.signing_domain == "fedorahosted.org"
    assert config.signing_keygen_host == "example.com"
    assert len(noted(config, "do_sign")) == 1
    assert read(tmp_path, TODAY).signing_backend == "off"
    own = "[signing]\nbackend=gpg\n"
    config = read(tmp_path, TODAY.replace("do_sign=false", "do_sign=1") + own)
    assert config.signing_backend == "gpg"
    assert "is set" in noted(config, "do_sign")[0]


def test_obs_sign_needs_the_domain_of_its_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="domain is empty"):
        read(tmp_path, "[signing]\nbackend=obs-sign\n")
    with pytest.raises(ConfigError, match="host name alone"):
        read(tmp_path, "[signing]\nbackend=gpg\ndomain=a b\n")
