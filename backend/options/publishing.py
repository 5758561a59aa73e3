"""Options of repositories, signatures and pruning."""

from typing import Final

from backend.options.option import Option

OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "repository",
        "keep_states",
        "int",
        "3",
        "States of a repository that one can go back to, the present one included",
        minimum=1,
        maximum=100,
    ),
    Option(
        "repository",
        "provenance",
        "bool",
        "yes",
        "Beside each build's packages: provenance.intoto.json (SLSA) and sbom.spdx.json (SPDX), see"
        " docs/provenance.md",
    ),
    Option(
        "repository",
        "compression",
        "str",
        "gz",
        "Compression of metadata; zstd needs Python 3.14 or the"
        " package backports.zstd here, and readers that know it",
        choices=("gz", "zstd"),
    ),
    Option(
        "repository",
        "sqlite",
        "bool",
        "no",
        "Metadata as SQLite databases besides, for yum; made of all packages at each publish",
    ),
    Option(
        "signing",
        "backend",
        "str",
        "off",
        "Who signs packages and metadata, see docs/signing.md: gpg keeps a key for each project in"
        " statedir, obs-sign asks a signing host",
        choices=("off", "gpg", "obs-sign"),
    ),
    Option(
        "signing",
        "key_type",
        "str",
        "rsa4096",
        "Keys that are made from now on; ed25519 is faster, but unknown to rpm before 4.16",
        choices=("rsa2048", "rsa3072", "rsa4096", "ed25519"),
    ),
    Option(
        "signing",
        "key_days",
        "int",
        "0",
        "Days that a new key is good for, then it gets a successor; 0: for ever",
        maximum=36_500,
    ),
    Option(
        "signing",
        "keep_days",
        "int",
        "90",
        "Days that the public part of an old key stays published after nothing is signed with it",
        maximum=36_500,
    ),
    Option(
        "signing",
        "passphrase_file",
        "path",
        "",
        "File whose first line encrypts the keys of gpg, e.g. outside statedir; empty: permissions"
        " alone protect them",
    ),
    Option(
        "signing",
        "timeout",
        "seconds",
        "120",
        "Longest time that signing one file may take, in seconds",
        minimum=1,
        maximum=3600,
    ),
    Option(
        "signing",
        "domain",
        "str",
        "",
        "Keys are named OWNER#PROJECT@copr.DOMAIN; empty with gpg: the host of public_url",
    ),
    Option("signing", "program", "path", "/bin/sign", "obs-sign: its client"),
    Option(
        "signing",
        "keygen_host",
        "str",
        "",
        "obs-sign: host that makes missing keys (POST http://HOST/gen_key); empty: nobody does",
    ),
    Option(
        "prune",
        "keep",
        "int",
        "3",
        "Newest succeeded builds of each package and chroot that `copr_be.py prune` keeps; 0: all",
        minimum=0,
        maximum=100_000,
    ),
    Option(
        "prune",
        "keep_project",
        "limits",
        "",
        "The same for single projects, e.g. jdoe/tools=10,jdoe/archive=0; before their own setting",
    ),
    Option(
        "prune",
        "log_days",
        "int",
        "0",
        "Days that logs are kept, whether the packages still are or not; 0: as long as those",
        minimum=0,
        maximum=100_000,
    ),
    Option(
        "prune",
        "eol",
        "dates",
        "",
        "End of life of releases or chroots, e.g. fedora-39=2024-11-26; only for the embedded"
        " frontend, a Copr frontend knows its own",
    ),
    Option(
        "prune",
        "eol_days",
        "int",
        "180",
        "Days after its end of life that a chroot's results are removed",
        minimum=0,
        maximum=100_000,
    ),
    Option(
        "prune",
        "every",
        "period",
        "0",
        "Prune by itself so often, e.g. 1d or 12h; 0: only by `copr_be.py prune --yes`",
        minimum=0,
        maximum=3650 * 86400,
    ),
)
