"""Every option of `copr-be.conf`: the one table that reader, errors and documentation share.

A new option is one line here; `copr-be.conf.example` is made from this table
(`copr_be.py example-config`), and a test compares the two.
"""

from dataclasses import dataclass
from typing import Final

GIB: Final = 1024**3


@dataclass(frozen=True)
class Option:
    """One key of the INI file.

    `kind` is one of str, secret, int, seconds, period (seconds, or a number with m, h or d),
    bool, path, paths (CHROOT=PATH, several), bytes, words, limits, dates, class (one of
    `choices`, or `package.module:Class`). An empty `default` of a path or a string means
    "derived", as `help` explains. `group` marks the keys
    `group<N>_<name>`, repeated for every builder group.
    """

    section: str
    name: str
    kind: str
    default: str
    help: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    group: bool = False

    @property
    def attribute(self) -> str:
        """Name of the field of `Config` (or of `Group`) that holds the value."""
        if self.group or self.section == "backend":
            return self.name
        return f"{self.section}_{self.name}"


B, R, W, H, P = "backend", "builder", "web", "webhook", "hosts"
RP, S = "repository", "signing"
#: `[prune]`.
T: Final = "prune"

OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        B,
        "frontend_base_url",
        "str",
        "",
        "Copr frontend to serve, e.g. https://copr.example.org; empty: start the embedded one",
    ),
    Option(
        B,
        "frontend_auth",
        "secret",
        "",
        "The frontend's BACKEND_PASSWORD; empty with the embedded frontend: made at first start",
    ),
    Option(
        B,
        "distgit_lookaside",
        "str",
        "",
        "Files of dist-git, e.g. https://HOST/repo/pkgs/{path}/{filename}/{hashtype}/{hash}/"
        "{filename}; empty: so on the host of the repository",
    ),
    Option(
        B,
        "results_baseurl",
        "str",
        "",
        "URL under which destdir is served; empty: the embedded frontend's /results",
    ),
    Option(
        B,
        "destdir",
        "path",
        "/var/lib/copr/public_html/results",
        "Where results and repositories are published",
    ),
    Option(
        B,
        "statedir",
        "path",
        "/var/lib/copr-backend",
        "Private state: database, uploads, embedded Redis, secrets, work directories",
    ),
    Option(B, "rundir", "path", "/run/copr-backend", "Pid file, locks and private sockets"),
    Option(B, "log_dir", "path", "/var/log/copr-backend", "Log files"),
    Option(
        B,
        "log_level",
        "str",
        "info",
        "Least important messages that are kept",
        choices=("debug", "info", "warning", "error"),
    ),
    Option(
        B,
        "sleeptime",
        "seconds",
        "5",
        "Longest time between two looks at the frontend, in seconds",
        minimum=1,
        maximum=3600,
    ),
    Option(
        B,
        "redis_url",
        "secret",
        "",
        "Redis or Valkey, e.g. redis://:PASSWORD@host:6379/0; empty: start a private redis-server",
    ),
    Option(
        B,
        "max_workers",
        "int",
        "",
        "Builds at once in a group that sets no own number; empty: the number of cores",
        minimum=0,
        maximum=10_000,
    ),
    Option(B, "build_groups", "int", "1", "Number of builder groups", minimum=1, maximum=100),
    Option(B, "name", "str", "PC", "Name of the group, shown in titles and logs", group=True),
    Option(
        B,
        "archs",
        "words",
        "",
        "Architectures that the group builds; empty: this machine's",
        group=True,
    ),
    Option(
        B,
        "max_workers",
        "int",
        "",
        "Builds at once in this group; empty: as max_workers above",
        minimum=0,
        maximum=10_000,
        group=True,
    ),
    Option(
        B,
        "builds_max_workers",
        "int",
        "0",
        "Builds at once on the whole farm; 0: as many as there are workers",
        maximum=100_000,
    ),
    Option(
        B,
        "builds_max_workers_owner",
        "int",
        "0",
        "Builds at once of one owner of projects; 0: no limit",
        maximum=100_000,
    ),
    Option(
        B,
        "builds_max_workers_sandbox",
        "int",
        "0",
        "Builds at once of one submitter in one project; 0: no limit",
        maximum=100_000,
    ),
    Option(
        B,
        "builds_max_workers_arch",
        "limits",
        "",
        "Builds at once by architecture, e.g. x86_64=10,aarch64=4 (i?86 counts as x86_64)",
    ),
    Option(
        B,
        "builds_max_workers_arch_per_owner",
        "limits",
        "",
        "Builds at once of one owner by architecture, e.g. s390x=2",
    ),
    Option(
        B,
        "builds_max_workers_tag",
        "limits",
        "",
        "Builds at once by tag, as the frontend gives them to chroots, e.g. on_demand_powerful=2",
    ),
    Option(B, "blocked_owners", "words", "", "Owners of projects whose builds are not started"),
    Option(
        B,
        "fair_share_half_life",
        "seconds",
        "3600",
        "Who built less of late goes first; past use halves in so many seconds; 0: by age only",
        maximum=10 * 365 * 24 * 3600,
    ),
    Option(
        B,
        "exit_on_worker",
        "bool",
        "no",
        "End the daemon when a worker dies unexpectedly, instead of starting another",
    ),
    Option(
        B,
        "max_attempts",
        "int",
        "5",
        "A task that has killed this many workers is failed",
        minimum=1,
        maximum=100,
    ),
    Option(
        B,
        "trouble_timeout",
        "seconds",
        "1800",
        "A task whose record, report or dist-git stays unusable for this long is failed",
        minimum=1,
        maximum=7 * 86400,
    ),
    Option(
        B,
        "actions_max_workers",
        "int",
        "4",
        "Actions of a Copr frontend (createrepo, delete, fork) that are carried out at once",
        minimum=1,
        maximum=1000,
    ),
    Option(
        B,
        "stop_timeout",
        "seconds",
        "4",
        "On SIGTERM, seconds until processes that still run are killed",
        minimum=1,
        maximum=600,
    ),
    Option(
        B,
        "user",
        "str",
        "",
        "User that the daemon changes to when root starts it, by name or number; empty: stay",
    ),
    Option(
        B,
        "group",
        "str",
        "",
        "Group that the daemon changes to; empty: the main group of user",
    ),
    Option(
        B,
        "stall_alarm",
        "seconds",
        "60",
        "Alarm and repair when work waits beside idle workers for so long, in seconds; 0: never",
        minimum=0,
        maximum=86400,
    ),
    Option(
        B,
        "min_free",
        "bytes",
        "",
        "While less is free below destdir or statedir, no new build starts and uploads are"
        " refused; empty: 1G, on a small disk a twentieth of it; 0: not guarded",
        minimum=0,
    ),
    Option(
        B,
        "prune_days",
        "int",
        "14",
        "Days that failed builds and source packages are kept by `copr_be.py prune`; 0: for ever",
        minimum=0,
        maximum=100_000,
    ),
    Option(
        R,
        "type",
        "class",
        "rpmbuild",
        "What builds: rpmbuild (in a bubblewrap sandbox), mock, or a Builder class of your own as"
        " package.module:Class",
        choices=("rpmbuild", "mock"),
    ),
    Option(
        R,
        "chroot",
        "str",
        "",
        "Chroot that this host builds; empty: from /etc/os-release, e.g. debian-12-x86_64",
    ),
    Option(
        R,
        "mock_user",
        "str",
        "",
        "User in the group mock that mock runs as when the daemon is root; empty: the first member",
    ),
    Option(R, "mock_configs", "path", "/etc/mock", "Where mock's configurations of chroots are"),
    Option(
        R,
        "mock_chroots",
        "words",
        "",
        "Which of them are offered, e.g. fedora-*-x86_64 epel-9-*; empty: all that run here",
    ),
    Option(
        R,
        "mock_isolation",
        "str",
        "auto",
        "How mock confines builds; auto: nspawn where systemd-nspawn and systemd are, else simple",
        choices=("auto", "nspawn", "simple"),
    ),
    Option(
        R,
        "mock_basedir",
        "path",
        "/var/lib/mock",
        "Where mock makes its roots, instead of basedir in site-defaults.cfg",
    ),
    Option(
        R,
        "root",
        "path",
        "",
        "Unpacked tree that packages are built in; empty: this machine's own system",
    ),
    Option(
        R,
        "roots",
        "paths",
        "",
        "Trees of more chroots, e.g. fedora-41-x86_64=/srv/f41; `copr_be.py root make` makes them"
        " in statedir/roots, where they need no entry here",
    ),
    Option(
        R,
        "timeout",
        "seconds",
        "21600",
        "Longest time a build may take, in seconds; a task may ask for less",
        minimum=1,
    ),
    Option(
        R,
        "stall_timeout",
        "seconds",
        "3600",
        "Longest time without output before a build is ended, in seconds",
        minimum=1,
    ),
    Option(
        R,
        "uid",
        "int",
        "60706",
        "First user id that builds run under when the daemon is root; each worker slot adds one",
        minimum=1,
    ),
    Option(R, "max_processes", "int", "4096", "Processes and threads of one build", minimum=16),
    Option(
        R,
        "build_memory",
        "bytes",
        "0",
        "Memory of all processes of one build together; 0: half of the machine's",
        minimum=0,
    ),
    Option(
        R,
        "max_memory",
        "bytes",
        "16G",
        "Address space of each process of a build (K, M, G, T), where there is no control group",
        minimum=64 * 1024**2,
    ),
    Option(
        R,
        "cgroup",
        "str",
        "auto",
        "Control groups that limit memory and processes: auto, no, or a writable directory of"
        " version 2 without processes",
    ),
    Option(
        R,
        "max_disk",
        "bytes",
        "64G",
        "Disk space that one build may use; 0: all but a reserve",
        minimum=0,
    ),
    Option(R, "max_files", "int", "2000000", "Files that one build may make; 0: any number"),
    Option(R, "max_file", "bytes", "16G", "Largest file that a build may write", minimum=1024**2),
    Option(
        R,
        "max_log",
        "bytes",
        "256M",
        "Largest build log; a build that prints more is ended",
        minimum=1024,
    ),
    Option(
        R,
        "macros",
        "bool",
        "yes",
        "Give specs the macros of Fedora that this rpm lacks (%cmake, %_unitdir, …), and bash as"
        " /bin/sh",
    ),
    Option(R, "debuginfo", "bool", "no", "Make debuginfo packages where rpm does not by itself"),
    Option(
        R,
        "max_download",
        "bytes",
        "4G",
        "Largest source package that is fetched by URL",
        minimum=1024,
    ),
    Option(
        R,
        "network",
        "bool",
        "yes",
        "Builds whose project asks for it (enable_net) may use this machine's network",
    ),
    Option(
        P,
        "identity",
        "path",
        "",
        "Private key for hosts that are reached over SSH; empty: the usual ones of the user",
    ),
    Option(
        P,
        "known_hosts",
        "path",
        "",
        "Keys of these hosts, as ssh-keyscan prints them; empty: the user's and the system's",
    ),
    Option(
        P,
        "ssh_config",
        "path",
        "",
        "Further settings of ssh, e.g. ProxyJump; empty: none, also not the user's own",
    ),
    Option(
        P,
        "connect_timeout",
        "seconds",
        "10",
        "Longest time until a connection to a host is made, in seconds",
        minimum=1,
        maximum=600,
    ),
    Option(
        P,
        "timeout",
        "seconds",
        "60",
        "A host that is not heard of for so many seconds during a build is given up",
        minimum=3,
        maximum=3600,
    ),
    Option(P, "python", "str", "python3", "Python on these hosts, 3.11 or newer: name or path"),
    Option(
        P,
        "directory",
        "str",
        "",
        "Directory on these hosts for builds; empty: ~/.cache/copr-backend of the user there",
    ),
    Option(
        P,
        "max_results",
        "bytes",
        "16G",
        "Most bytes of results that are fetched for one build",
        minimum=1024**2,
    ),
    Option(
        RP,
        "keep_states",
        "int",
        "3",
        "States of a repository that one can go back to, the present one included",
        minimum=1,
        maximum=100,
    ),
    Option(W, "host", "str", "127.0.0.1", "Address that the embedded frontend listens on"),
    Option(
        W,
        "port",
        "int",
        "5000",
        "Port that the embedded frontend listens on",
        minimum=1,
        maximum=65535,
    ),
    Option(
        W,
        "public_url",
        "str",
        "",
        "URL that users reach the embedded frontend by; empty: http://<host>:<port>",
    ),
    Option(
        W,
        "database_url",
        "secret",
        "",
        "SQLAlchemy URL of the frontend's database; empty: SQLite in statedir",
    ),
    Option(W, "admin_user", "str", "admin", "User that the first start creates"),
    Option(
        W,
        "cli_config",
        "path",
        "",
        "copr-cli configuration written at first start; empty: statedir/copr-cli.conf",
    ),
    Option(
        W, "max_upload", "bytes", "4G", "Largest source package that may be uploaded", minimum=1024
    ),
    Option(
        W,
        "upload_rate",
        "int",
        "600",
        "Source packages that one user may upload within an hour; 0: no limit",
        minimum=0,
    ),
    Option(
        W,
        "token_days",
        "int",
        "180",
        "Days that a new API token is good for, except the first start's; 0: for ever",
        minimum=0,
    ),
    Option(
        W,
        "distgit",
        "words",
        "fedora=https://src.fedoraproject.org/{namespace}/{package}.git"
        " centos-stream=https://gitlab.com/redhat/centos-stream/{namespace}/{package}.git",
        "Where copr-cli build-distgit finds packages, the default first: NAME=URL with {namespace}"
        " and {package}",
    ),
    Option(
        W,
        "hook_networks",
        "words",
        "",
        "Private networks, e.g. 10.1.0.0/16, in which projects' webhooks may be; all others of"
        " this machine and of private addresses are refused",
    ),
    Option(
        S,
        "backend",
        "str",
        "off",
        "Who signs packages and metadata, see docs/signing.md: gpg keeps a key for each project in"
        " statedir, obs-sign asks a signing host",
        choices=("off", "gpg", "obs-sign"),
    ),
    Option(
        S,
        "key_type",
        "str",
        "rsa4096",
        "Keys that are made from now on; ed25519 is faster, but unknown to rpm before 4.16",
        choices=("rsa2048", "rsa3072", "rsa4096", "ed25519"),
    ),
    Option(
        S,
        "key_days",
        "int",
        "0",
        "Days that a new key is good for, then it gets a successor; 0: for ever",
        maximum=36_500,
    ),
    Option(
        S,
        "keep_days",
        "int",
        "90",
        "Days that the public part of an old key stays published after nothing is signed with it",
        maximum=36_500,
    ),
    Option(
        S,
        "passphrase_file",
        "path",
        "",
        "File whose first line encrypts the keys of gpg, e.g. outside statedir; empty: permissions"
        " alone protect them",
    ),
    Option(
        S,
        "timeout",
        "seconds",
        "120",
        "Longest time that signing one file may take, in seconds",
        minimum=1,
        maximum=3600,
    ),
    Option(
        S,
        "domain",
        "str",
        "",
        "Keys are named OWNER#PROJECT@copr.DOMAIN; empty with gpg: the host of public_url",
    ),
    Option(S, "program", "path", "/bin/sign", "obs-sign: its client"),
    Option(
        S,
        "keygen_host",
        "str",
        "",
        "obs-sign: host that makes missing keys (POST http://HOST/gen_key); empty: nobody does",
    ),
    Option(
        H,
        "url",
        "secret",
        "",
        "URL that gets a POST for each finished build, see docs/events.md; empty: none",
    ),
    Option(H, "secret", "secret", "", "Key that signs the messages (HMAC-SHA256); empty: unsigned"),
    Option(
        H,
        "timeout",
        "seconds",
        "10",
        "Longest time that the receiver may take to answer, in seconds",
        minimum=1,
        maximum=600,
    ),
    Option(
        H,
        "give_up",
        "seconds",
        "259200",
        "A message that the receiver does not take is tried again for so long, in seconds",
        minimum=1,
    ),
    Option(
        T,
        "keep",
        "int",
        "3",
        "Newest succeeded builds of each package and chroot that `copr_be.py prune` keeps; 0: all",
        minimum=0,
        maximum=100_000,
    ),
    Option(
        T,
        "keep_project",
        "limits",
        "",
        "The same for single projects, e.g. jdoe/tools=10,jdoe/archive=0; before their own setting",
    ),
    Option(
        T,
        "log_days",
        "int",
        "0",
        "Days that logs are kept, whether the packages still are or not; 0: as long as those",
        minimum=0,
        maximum=100_000,
    ),
    Option(
        T,
        "eol",
        "dates",
        "",
        "End of life of releases or chroots, e.g. fedora-39=2024-11-26; only for the embedded"
        " frontend, a Copr frontend knows its own",
    ),
    Option(
        T,
        "eol_days",
        "int",
        "180",
        "Days after its end of life that a chroot's results are removed",
        minimum=0,
        maximum=100_000,
    ),
    Option(
        T,
        "every",
        "period",
        "0",
        "Prune by itself so often, e.g. 1d or 12h; 0: only by `copr_be.py prune --yes`",
        minimum=0,
        maximum=3650 * 86400,
    ),
)
