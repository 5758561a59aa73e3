"""A dist-git for the recorded frontend: imports source packages into clonable repositories.

Files that are no spec, or larger than `keep` bytes, go into the lookaside cache, as a real one
does with tarballs; `sources` names them with their checksums.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from tests.frontend.server import RecordedFrontend

IDENTITY = ["-c", "user.name=distgit", "-c", "user.email=distgit@localhost"]


def git(*args: str, cwd: Path) -> str:
    command = ["git", *IDENTITY, "-c", "init.defaultBranch=master", *args]
    run = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    return run.stdout.strip()


def line(path: Path, old: bool) -> str:
    data = path.read_bytes()
    if old:
        return f"{hashlib.md5(data).hexdigest()}  {path.name}\n"
    return f"SHA512 ({path.name}) = {hashlib.sha512(data).hexdigest()}\n"


class DistGit:
    """Serves from the frontend's own files: /files/git/… and /files/repo/pkgs/…"""

    def __init__(self, server: RecordedFrontend, *, old: bool = False, keep: int = 0) -> None:
        self.server, self.old, self.keep = server, old, keep
        self.top = server.files
        self.lookaside = (
            f"{server.url}/files/repo/pkgs/{{path}}/{{filename}}/{{hashtype}}/{{hash}}/{{filename}}"
        )

    def once(self) -> int:
        """Import everything that waits for it; returns how many."""
        with self.server.lock:
            tasks = self.server.model.importing()
        for task in tasks:
            commit = self.import_url(task["owner"], task["project"], task["pkg_name"], task)
            body = {
                "build_id": task["build_id"],
                "branch_commits": dict.fromkeys(task["branches"], commit),
            }
            with self.server.lock:
                self.server.model.import_completed(body)
        return len(tasks)

    def import_url(self, owner: str, project: str, name: str, task: dict[str, Any]) -> str:
        with tempfile.TemporaryDirectory() as work:
            srpm = Path(work) / "in.src.rpm"
            urllib.request.urlretrieve(task["srpm_url"], srpm)
            tree = Path(work) / "tree"
            tree.mkdir()
            archive = subprocess.run(["rpm2cpio", srpm], check=True, capture_output=True).stdout
            subprocess.run(["cpio", "-idm", "--quiet"], cwd=tree, input=archive, check=True)
            return self.add(f"{owner}/{project}/{name}", tree)

    def add(self, path: str, tree: Path) -> str:
        """Commit a directory of sources as the repository `path`; returns the commit."""
        sources = ""
        for file in sorted(tree.iterdir()):
            if file.is_file() and file.suffix != ".spec" and file.stat().st_size > self.keep:
                sources += line(file, self.old)
                kind = "md5" if self.old else "sha512"
                digest = hashlib.new(kind, file.read_bytes()).hexdigest()
                place = self.top / "repo/pkgs" / path / file.name / kind / digest / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(file, place)
        (tree / "sources").write_text(sources)
        return self.commit(path, tree)

    def commit(self, path: str, tree: Path) -> str:
        """Commit the directory as it is."""
        bare = self.top / "git" / path
        if not bare.is_dir():
            bare.mkdir(parents=True)
            git("init", "-q", "--bare", cwd=bare)
        git("init", "-q", cwd=tree)
        git("add", "-A", "-f", cwd=tree)
        git("commit", "-q", "--allow-empty", "-m", "automatic import", cwd=tree)
        commit = git("rev-parse", "HEAD", cwd=tree)
        git("push", "-q", "-f", os.fspath(bare), f"HEAD:refs/heads/c{commit[:8]}", cwd=tree)
        git("push", "-q", "-f", os.fspath(bare), "HEAD:refs/heads/master", cwd=tree)
        git("update-server-info", cwd=bare)
        return commit
