"""Options of the embedded frontend and of the webhook: `[web]`, `[webhook]`."""

from typing import Final

from backend.options.option import Option

OPTIONS: Final[tuple[Option, ...]] = (
    Option("web", "host", "str", "127.0.0.1", "Address that the embedded frontend listens on"),
    Option(
        "web",
        "port",
        "int",
        "5000",
        "Port that the embedded frontend listens on",
        minimum=1,
        maximum=65535,
    ),
    Option(
        "web",
        "public_url",
        "str",
        "",
        "URL that users reach the embedded frontend by; empty: http://<host>:<port>",
    ),
    Option(
        "web",
        "database_url",
        "secret",
        "",
        "SQLAlchemy URL of the frontend's database; empty: SQLite in statedir",
    ),
    Option("web", "admin_user", "str", "admin", "User that the first start creates"),
    Option(
        "web",
        "cli_config",
        "path",
        "",
        "copr-cli configuration written at first start; empty: statedir/copr-cli.conf",
    ),
    Option(
        "web",
        "max_upload",
        "bytes",
        "4G",
        "Largest source package that may be uploaded",
        minimum=1024,
    ),
    Option(
        "web",
        "hook_rate",
        "int",
        "600",
        "Requests of forges and scripts (webhooks) that one project takes within an hour;"
        " 0: no limit",
        minimum=0,
    ),
    Option(
        "web",
        "upload_rate",
        "int",
        "600",
        "Source packages that one user may upload within an hour; 0: no limit",
        minimum=0,
    ),
    Option(
        "web",
        "token_days",
        "int",
        "180",
        "Days that a new API token is good for, except the first start's; 0: for ever",
        minimum=0,
        maximum=36_500,
    ),
    Option(
        "web",
        "distgit",
        "words",
        "fedora=https://src.fedoraproject.org/{namespace}/{package}.git"
        " centos-stream=https://gitlab.com/redhat/centos-stream/{namespace}/{package}.git",
        "Where copr-cli build-distgit finds packages, the default first: NAME=URL with {namespace}"
        " and {package}",
    ),
    Option(
        "web",
        "hook_networks",
        "words",
        "",
        "Private networks, e.g. 10.1.0.0/16, in which projects' webhooks may be; all others of"
        " this machine and of private addresses are refused",
    ),
    Option(
        "webhook",
        "url",
        "secret",
        "",
        "URL that gets a POST for each finished build, see docs/events.md; empty: none",
    ),
    Option(
        "webhook",
        "secret",
        "secret",
        "",
        "Key that signs the messages (HMAC-SHA256); empty: unsigned",
    ),
    Option(
        "webhook",
        "timeout",
        "seconds",
        "10",
        "Longest time that the receiver may take to answer, in seconds",
        minimum=1,
        maximum=600,
    ),
    Option(
        "webhook",
        "give_up",
        "seconds",
        "259200",
        "A message that the receiver does not take is tried again for so long, in seconds",
        minimum=1,
    ),
)
