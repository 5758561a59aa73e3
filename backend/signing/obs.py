"""Keys that a signing host keeps: obs-signd through `/bin/sign`, made by the keygen host.

So today's Copr signs; the command lines and the request are the same, so that its keys go on.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import urllib3

from backend import openpgp
from backend.config import Config
from backend.exceptions import InfrastructureError, ToolError
from backend.process import Result, run
from backend.signing import Project

_HASH = "sha256"
_UNKNOWN = "unknown key"


class ObsBackend:
    """The key of a project is named `OWNER#PROJECT@copr.DOMAIN`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: dict[Project, bytes] = {}

    def ensure(self, project: Project) -> bool:
        """Ask the signing host for the key, and the keygen host to make it if there is none."""
        if project in self._known:
            return False
        asked = self._sign(project, "-p")
        missing = bool(asked.code) and _UNKNOWN in asked.stderr.decode("utf-8", "replace").lower()
        if missing:
            self._generate(project)
            asked = self._sign(project, "-p")
        public = self._check(asked, f"the public key of {project}")
        if b"BEGIN PGP PUBLIC KEY" not in public:
            raise InfrastructureError(f"{self._program} printed no public key for {project}")
        self._known[project] = public
        return missing

    def public(self, project: Project) -> bytes:
        """`sign -p`."""
        self.ensure(project)
        return self._known[project]

    def sign_copies(self, project: Project, copies: Sequence[Path]) -> None:
        """`sign -4 -r`, one package at a time."""
        self.ensure(project)
        for path in copies:
            self._check(self._sign(project, "-r", str(path), first=("-4", "-h", _HASH)), path.name)

    def sign_file(self, project: Project, path: Path) -> bytes:
        """`sign -d` leaves its signature beside the file."""
        self.ensure(project)
        target = path.with_name(f"{path.name}.asc")
        self._check(self._sign(project, "-d", str(path), first=("-h", _HASH)), path.name)
        try:
            signature = openpgp.dearmor(target.read_bytes())
        except OSError as error:
            raise InfrastructureError(f"{self._program} left no {target}: {error}") from error
        if not signature:
            raise InfrastructureError(f"{self._program} left no signature in {target}")
        return signature

    @property
    def _program(self) -> str:
        return str(self._config.signing_program)

    def _sign(self, project: Project, *what: str, first: Sequence[str] = ()) -> Result:
        address = project.address(self._config.signing_domain)
        argv = [self._program, *first, "-u", address, *what]
        try:
            return run(argv, timeout=self._config.signing_timeout)
        except ToolError as error:
            raise InfrastructureError(f"cannot sign for {project}: {error}") from error

    def _check(self, result: Result, what: str) -> bytes:
        if result.code:
            raise InfrastructureError(f"cannot sign {what}: {self._program}: {result.last_line}")
        return result.stdout

    def _generate(self, project: Project) -> None:
        host = self._config.signing_keygen_host
        if not host:
            raise InfrastructureError(
                f"the signing host has no key for {project}: set [signing] keygen_host to have it"
                " made, or make it there"
            )
        url = f"http://{host}/gen_key"
        address = project.address(self._config.signing_domain)
        body = json.dumps({"name_real": project.real_name, "name_email": address})
        timeout = urllib3.Timeout(connect=30, read=self._config.signing_timeout)
        headers = {"Content-Type": "application/json"}
        try:
            with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
                answer = pool.request("POST", url, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise InfrastructureError(f"{url}: no key for {project}: {error}") from error
        if answer.status >= 400:
            raise InfrastructureError(f"{url}: no key for {project}: it answers {answer.status}")
