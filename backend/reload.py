"""What a changed configuration means, option by option: pure."""

from collections.abc import Set
from dataclasses import dataclass, fields, replace

from backend.config import Config, Group

#: Fixed when the daemon starts: sockets that are bound, directories that are in use.
AT_RESTART = frozenset(
    {
        "frontend_base_url",
        "redis_url",
        "statedir",
        "rundir",
        "user",
        "group",
        "web_host",
        "web_port",
    }
)
#: The grabber looks at all of `[backend]`; the master itself at these.
_GRABBER_ONLY = frozenset(
    {"max_workers", "build_groups", "sleeptime", "blocked_owners", "fair_share_half_life"}
)
_GRABBER_LIMITS = "builds_max_workers"
_MASTER_ONLY = frozenset({"exit_on_worker", "stop_timeout", "notes"})
_LOG_ONLY = ("log_", "webhook_", "stall_alarm")
#: The sentinel in the log process knows the groups; reports are told only to a webhook.
_LOG_AND_GRABBER = frozenset({"groups", "webhook_url"})
_EVERYBODY = frozenset({"log", "jobgrab", "actions", "web", "worker", "hosts"})

#: How the names of options begin → who uses them; the first that fits counts.
_BY_SECTION: tuple[tuple[str | tuple[str, ...], frozenset[str]], ...] = (
    ("prune_", frozenset({"actions"})),
    (_LOG_ONLY, frozenset({"log"})),
    ("web_", frozenset({"web"})),
    (
        ("builder_type", "builder_chroot", "builder_mock_chroots", "builder_mock_configs"),
        frozenset({"jobgrab", "web", "worker", "hosts"}),
    ),
    ("builder_", frozenset({"jobgrab", "worker", "hosts"})),
    ("hosts_", frozenset({"worker", "hosts"})),
)


@dataclass(frozen=True)
class Change:
    """`config` is what holds from now on, `pending` the options that wait for a restart,
    `users` the kinds of children that must be started anew to see what is different."""

    config: Config
    changed: frozenset[str]
    pending: frozenset[str]
    users: frozenset[str]


def users_of(option: str) -> Set[str]:
    """The kinds of children that use an option (named by its field of Config)."""
    if option in _MASTER_ONLY:
        return frozenset()
    if option in _GRABBER_ONLY or option.startswith(_GRABBER_LIMITS):
        return frozenset({"jobgrab"})
    if option in _LOG_AND_GRABBER:
        return frozenset({"log", "jobgrab"})
    if option == "min_free":
        return frozenset({"jobgrab", "web"})
    for begins, users in _BY_SECTION:
        if option.startswith(begins):
            return users
    return _EVERYBODY  # also an option that this table does not know


def compare(old: Config, new: Config) -> Change:
    """What to do when `new` was read while `old` is in force."""
    names = [entry.name for entry in fields(Config) if entry.name != "path"]
    differ = {name for name in names if getattr(old, name) != getattr(new, name)}
    pending = differ & AT_RESTART
    users: set[str] = set()
    for name in differ - pending:
        users |= users_of(name)
    if _pools(old) != _pools(new):
        users.add("hosts")
    return Change(
        config=replace(new, **{name: getattr(old, name) for name in pending}),
        changed=frozenset(differ - pending),
        pending=frozenset(pending),
        users=frozenset(users),
    )


def _pools(config: Config) -> list[Group]:
    """The groups as the hosts helper sees them."""
    return [replace(group, max_workers=0) for group in config.groups]


def stale_groups(old: Config, new: Config) -> frozenset[int]:
    """Groups whose workers know their group wrongly: another name, other architectures."""
    before = {group.id: group for group in old.groups}
    return frozenset(
        group.id
        for group in new.groups
        if group.id in before and replace(before[group.id], max_workers=group.max_workers) != group
    )
