"""What copr-cli and the frontend say of a task."""

import re
from typing import Any

from tests.integration.coprcli import Server
from tests.unit.test_web_lab import CHROOTS

FEDORA, DEBIAN = CHROOTS


def record(server: Server, kind: str, task: str) -> dict[str, Any]:
    reply = server.http.get(f"/backend/get-{kind}-task/{task}/")
    found: dict[str, Any] = reply.json()
    return found


def created(output: str) -> int:
    found = re.search(r"Created builds: (\d+)", output)
    assert found, output
    return int(found.group(1))
