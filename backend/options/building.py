"""Options of builds: `[builder]`."""

from typing import Final

from backend.options.option import Option

OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "builder",
        "type",
        "class",
        "rpmbuild",
        "What builds: rpmbuild (in a bubblewrap sandbox), mock, or a Builder class of your own as"
        " package.module:Class",
        choices=("rpmbuild", "mock"),
    ),
    Option(
        "builder",
        "chroot",
        "str",
        "",
        "Chroot that this host builds; empty: from /etc/os-release, e.g. debian-12-x86_64",
    ),
    Option(
        "builder",
        "mock_user",
        "str",
        "",
        "User in the group mock that mock runs as when the daemon is root; empty: the first member",
    ),
    Option(
        "builder", "mock_configs", "path", "/etc/mock", "Where mock's configurations of chroots are"
    ),
    Option(
        "builder",
        "mock_chroots",
        "words",
        "",
        "Which of them are offered, e.g. fedora-*-x86_64 epel-9-*; empty: all that run here",
    ),
    Option(
        "builder",
        "mock_isolation",
        "str",
        "auto",
        "How mock confines builds; auto: nspawn where systemd-nspawn and systemd are, else simple",
        choices=("auto", "nspawn", "simple"),
    ),
    Option(
        "builder",
        "mock_basedir",
        "path",
        "/var/lib/mock",
        "Where mock makes its roots, instead of basedir in site-defaults.cfg",
    ),
    Option(
        "builder",
        "root",
        "path",
        "",
        "Unpacked tree that packages are built in; empty: this machine's own system",
    ),
    Option(
        "builder",
        "roots",
        "paths",
        "",
        "Trees of more chroots, e.g. fedora-41-x86_64=/srv/f41; `copr_be.py root make` makes them"
        " in statedir/roots, where they need no entry here",
    ),
    Option(
        "builder",
        "timeout",
        "seconds",
        "21600",
        "Longest time a build may take, in seconds; a task may ask for less",
        minimum=1,
    ),
    Option(
        "builder",
        "stall_timeout",
        "seconds",
        "3600",
        "Longest time without output before a build is ended, in seconds",
        minimum=1,
    ),
    Option(
        "builder",
        "uid",
        "int",
        "60706",
        "First user id that builds run under when the daemon is root; each worker slot adds one",
        minimum=1,
    ),
    Option(
        "builder", "max_processes", "int", "4096", "Processes and threads of one build", minimum=16
    ),
    Option(
        "builder",
        "build_memory",
        "bytes",
        "0",
        "Memory of all processes of one build together; 0: half of the machine's",
        minimum=0,
    ),
    Option(
        "builder",
        "max_memory",
        "bytes",
        "16G",
        "Address space of each process of a build (K, M, G, T), where there is no control group",
        minimum=64 * 1024**2,
    ),
    Option(
        "builder",
        "cgroup",
        "str",
        "auto",
        "Control groups that limit memory and processes: auto, no, or a writable directory of"
        " version 2 without processes",
    ),
    Option(
        "builder",
        "max_disk",
        "bytes",
        "64G",
        "Disk space that one build may use; 0: all but a reserve",
        minimum=0,
    ),
    Option(
        "builder", "max_files", "int", "2000000", "Files that one build may make; 0: any number"
    ),
    Option(
        "builder",
        "max_file",
        "bytes",
        "16G",
        "Largest file that a build may write",
        minimum=1024**2,
    ),
    Option(
        "builder",
        "max_log",
        "bytes",
        "256M",
        "Largest build log; a build that prints more is ended",
        minimum=1024,
    ),
    Option(
        "builder",
        "macros",
        "bool",
        "yes",
        "Give specs the macros of Fedora that this rpm lacks (%cmake, %_unitdir, …), and bash as"
        " /bin/sh",
    ),
    Option(
        "builder", "debuginfo", "bool", "no", "Make debuginfo packages where rpm does not by itself"
    ),
    Option(
        "builder",
        "reproducible",
        "bool",
        "yes",
        "The same source gives the same RPMs: times from the changelog (SOURCE_DATE_EPOCH), one"
        " name of build host; see docs/provenance.md",
    ),
    Option(
        "builder",
        "max_download",
        "bytes",
        "4G",
        "Largest source package that is fetched by URL",
        minimum=1024,
    ),
    Option(
        "builder",
        "network",
        "bool",
        "yes",
        "Builds whose project asks for it (enable_net) may use this machine's network",
    ),
)
