"""`python -m tests.fuzz --examples 50 --seed 7`: Schemathesis against a frontend of its own.

Compares what the API says of itself (`/api_3/openapi.json`) with what it does. Exit code 0 when
there is no finding. Needs the program `st`, for which `make fuzz` makes an environment of its own:
as a plug-in it would change how pytest behaves.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from tests.integration.coprcli import Server
from tests.unit.test_web_lab import CHROOTS, token_of

#: Where `make fuzz` installs it.
PROGRAM = "build/fuzz/venv/bin/st"
#: Operations that refuse valid requests for what a schema cannot say, each with that reason.
BY_DATA = {
    "POST /api_3/build/check-before-build": "chroots and batches of the project",
    "POST /api_3/build/create/url": "chroots and batches of the project",
    "POST /api_3/build/create/upload": "the file is a source package",
    "POST /api_3/build/create/rpm-upload": "the file is a binary package",
    "POST /api_3/build/create/{kind}": "each kind of source needs fields of its own",
    "POST /api_3/package/build": "the package has a source",
    "POST /api_3/package/add/{ownername}/{projectname}/{package_name}/{source_type_text}":
        "each kind of source needs fields of its own",
    "POST /api_3/package/edit/{ownername}/{projectname}/{package_name}/{source_type_text}":
        "each kind of source needs fields of its own",
    "PUT /api_3/package/edit/{ownername}/{projectname}/{package_name}/{source_type_text}":
        "each kind of source needs fields of its own",
    "POST /api_3/project/add/{ownername}": "names are given once",
    "POST /api_3/project/fork/{ownername}/{projectname}": "a project that exists must be confirmed",
    "POST /api_3/project/promote/{ownername}/{projectname}": "builds must have succeeded",
    "POST /api_3/project/delete/{ownername}/{projectname}": "it may be persistent",
    "DELETE /api_3/project/delete/{ownername}/{projectname}": "it may be persistent",
    "PUT /api_3/project/permissions/request/{ownername}/{projectname}": "owners have them",
    "PUT /api_3/project/permissions/set/{ownername}/{projectname}": "owners have them",
    "POST /api_3/webhook/add/{ownername}/{projectname}": "what an address is, and how many",
}  # fmt: skip
PARAMETERS = {
    "ownername": '"admin"',
    "projectname": '"hello"',
    "packagename": '"tools"',
    "package_name": '"tools"',
    "chrootname": f'"{CHROOTS[0]}"',
    "build_id": "1",
}


def settings() -> str:
    """The configuration of Schemathesis."""
    lines = ["[parameters]", *(f'"{name}" = {value}' for name, value in PARAMETERS.items())]
    for operation, reason in BY_DATA.items():
        lines += [
            f"# {reason}",
            "[[operations]]",
            f'include-name = "{operation}"',
            "checks.positive_data_acceptance.expected-statuses ="
            ' ["2xx", "400", "401", "403", "404", "409"]',
        ]
    return "\n".join(lines) + "\n"


def fill(base: str, auth: tuple[str, str]) -> None:
    """A project with a build and a package, so that requests find something."""
    for path, body in (
        ("project/add/admin", {"name": "hello", "chroots": list(CHROOTS)}),
        (
            "build/create/url",
            {"ownername": "admin", "projectname": "hello", "pkgs": ["http://x/h.src.rpm"]},
        ),
        ("package/add/admin/hello/tools/scm", {"clone_url": "https://x/y.git"}),
    ):
        httpx.post(f"{base}/api_3/{path}", json=body, auth=auth, timeout=60).raise_for_status()


def run(program: str, examples: int, seed: int) -> int:
    """Exit code of Schemathesis."""
    with tempfile.TemporaryDirectory() as top:
        server = Server(Path(top))
        try:
            base, auth = server.config.listen_url, token_of(server.config)
            fill(base, auth)
            (Path(top) / "st.toml").write_text(settings())
            command = [str(Path(program).absolute()), "--config-file", f"{top}/st.toml", "run"]
            command += [f"{base}/api_3/openapi.json", f"--auth={auth[0]}:{auth[1]}"]
            command += [f"--max-examples={examples}", f"--seed={seed}", "--continue-on-failure"]
            command += ["--phases=examples,coverage,fuzzing", "--workers=2"]
            command += ["--suppress-health-check=too_slow"]  # a loaded machine is
            # It would end the token that all other requests come with.
            command += ["--exclude-path=/api_3/api-token", "--warnings=off"]
            # It leaves what it remembers where it runs.
            return subprocess.run(command, check=False, cwd=top).returncode
        finally:
            server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=20, help="of each operation")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--program", default=PROGRAM)
    args = parser.parse_args()
    sys.exit(run(args.program, args.examples, args.seed))
