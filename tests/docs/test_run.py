"""Runs every command in the pages, in the directory of a farm started as the pages say.

What is not run says why in the page itself. What differs from a reader's machine, and is put in
place here: the chroot's name, the port, `sudo`, and where dnf installs.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, SHELL, TOP, Block, blocks
from tests.integration.farm import free_port

pytestmark = [
    pytest.mark.rpmbuild, pytest.mark.redis, pytest.mark.createrepo, pytest.mark.coprcli,
    pytest.mark.dnf, pytest.mark.gpg, pytest.mark.timeout(1200),
]  # fmt: skip

PROGRAMS = {
    "copr_be.py": f'exec {sys.executable} -m backend.cli -c "$FARM/var/copr-be.conf" "$@"',
    # The real one, but it looks after a build more often than each half minute.
    "copr-cli": f"""exec {sys.executable} -c '
import time
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.2))
from copr_cli.main import main
main()' "$@\"""",
    "sudo": 'exec "$@"',
    # Without root dnf cannot install: then it reads the repository at least.
    "dnf": """\
[ "$(id -u)" = 0 ] || set -- "${@/#install/repoquery}"
exec /usr/bin/dnf -y --installroot="$FARM/root" --setopt=cachedir="$FARM/cache" \\
    --setopt=reposdir=/dev/null "$@" """,
}


class Reader:
    """Somebody who has typed `make run`, and goes on reading and typing in the same directory."""

    def __init__(self, top: Path, port: int) -> None:
        self.top = top
        self.port = port
        self.environ = {
            **os.environ,
            "FARM": str(top),
            "HOME": str(top),  # of copr-cli's default configuration
            "PATH": f"{top}/.venv/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
            "PYTHONPATH": str(TOP),
        }
        (top / ".venv/bin").mkdir(parents=True)
        for name, text in PROGRAMS.items():
            program = top / ".venv/bin" / name
            program.write_text(f"#!/bin/bash\n{text}\n")
            program.chmod(0o755)
        self.farm = subprocess.Popen(
            [*self.program("copr_be.py"), "quickstart", "--state", "var"],
            cwd=top, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self.farm.stdout
        said = []
        for line in self.farm.stdout:
            said.append(line)
            if line.startswith("Serving until"):
                break
        else:
            pytest.fail("".join(said))
        (top / ".config").mkdir()
        (top / ".config/copr").write_bytes((top / "var/copr-cli.conf").read_bytes())
        self.chroot = next((top / "var/results/admin/sample").glob("*-*-*")).name

    def program(self, name: str) -> list[str]:
        return [str(self.top / ".venv/bin" / name)]

    def type(self, block: Block) -> str:
        """Run the block; returns what is wrong, nothing if all is well."""
        text = block.script.replace("debian-12-x86_64", self.chroot)
        text = text.replace("http://127.0.0.1:5000", f"http://127.0.0.1:{self.port}")
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", text], cwd=self.top, env=self.environ, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False, timeout=1000,
        )  # fmt: skip
        return f"{block.where}: exit code {done.returncode}\n{done.stdout}" * bool(done.returncode)

    def close(self) -> None:
        self.farm.send_signal(signal.SIGTERM)
        self.farm.communicate(timeout=120)


@pytest.fixture
def reader() -> Iterator[Reader]:
    with tempfile.TemporaryDirectory(prefix="docs-", ignore_cleanup_errors=True) as top:
        # All of it, keys too, before the first start: a reader's own configuration is kept.
        state, port = Path(top) / "var", free_port()
        state.mkdir()
        text = (
            f"[backend]\ndestdir = {state}/results\nstatedir = {state}/state\n"
            f"rundir = {state}/run\nlog_dir = {state}/log\n"
            f"[web]\nport = {port}\ncli_config = {state}/copr-cli.conf\n"
            "[signing]\nbackend = gpg\nkey_type = ed25519\n"
        )
        (state / "copr-be.conf").write_text(text)
        someone = Reader(Path(top), port)
        try:
            yield someone
        finally:
            someone.close()


@pytest.mark.timeout(1200)  # forty programs, one after the other
def test_every_command_in_the_pages_works(reader: Reader) -> None:
    typed = [
        block
        for page in PAGES
        for block in blocks(page)
        if block.language in SHELL and not block.reason
    ]
    assert len({block.page for block in typed}) > 5
    wrong = [reader.type(block) for block in typed]
    assert not any(wrong), "\n".join(filter(None, wrong))
