"""Options of each group of builders: `group<N>_<name>` in `[backend]`."""

from typing import Final

from backend.options.option import Option

OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "backend", "name", "str", "PC", "Name of the group, shown in titles and logs", group=True
    ),
    Option(
        "backend",
        "archs",
        "words",
        "",
        "Architectures that the group builds; empty: this machine's",
        group=True,
    ),
    Option(
        "backend",
        "max_workers",
        "int",
        "",
        "Builds at once in this group; empty: as max_workers above",
        minimum=0,
        maximum=10_000,
        group=True,
    ),
    Option(
        "backend",
        "hosts",
        "words",
        "",
        "Where the group builds: local, ssh://user@host[:port]; see docs/hosts.md; empty: local,"
        " or only on the machines of spawn_command or resalloc_connection",
        group=True,
    ),
    Option(
        "backend",
        "max_per_host",
        "int",
        "1",
        "Builds at once on each host of the group",
        minimum=1,
        maximum=1000,
        group=True,
    ),
    Option(
        "backend",
        "spawn_command",
        "str",
        "",
        "Starts a machine and prints its address as JSON; {name} is what we call it",
        group=True,
    ),
    Option(
        "backend",
        "terminate_command",
        "str",
        "",
        "Ends the machine {name}, also half started",
        group=True,
    ),
    Option(
        "backend",
        "list_command",
        "str",
        "",
        "Lists the machines that exist, so that leaked ones are found and ended; {prefix} is ours",
        group=True,
    ),
    Option(
        "backend",
        "preallocate",
        "int",
        "0",
        "Unused machines of spawn_command that are kept ready",
        maximum=10_000,
        group=True,
    ),
    Option(
        "backend",
        "max_hosts",
        "int",
        "10",
        "Machines of spawn_command or resalloc_connection at once",
        minimum=1,
        maximum=10_000,
        group=True,
    ),
    Option(
        "backend",
        "host_idle_time",
        "seconds",
        "600",
        "A machine that nobody needs is ended after so many seconds",
        maximum=30 * 86400,
        group=True,
    ),
    Option(
        "backend",
        "host_affinity",
        "str",
        "sandbox",
        "A used machine of spawn_command serves only the same submitter in the same project"
        " (sandbox), the same project, or anybody (none)",
        choices=("sandbox", "project", "none"),
        group=True,
    ),
    Option(
        "backend",
        "host_user",
        "str",
        "root",
        "User on machines whose address names none",
        group=True,
    ),
    Option(
        "backend",
        "resalloc_connection",
        "str",
        "",
        "A resalloc server that gives machines, e.g. http://localhost:49100",
        group=True,
    ),
    Option(
        "backend",
        "resalloc_tags",
        "words",
        "",
        "Tags of the resalloc tickets, e.g. copr_builder,arch_x86_64",
        group=True,
    ),
)
