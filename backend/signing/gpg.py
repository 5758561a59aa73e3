"""Keys of our own: GnuPG makes them and signs, rpmsign puts signatures into packages."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from backend.config import Config
from backend.exceptions import InfrastructureError, ToolError
from backend.process import find, find_all
from backend.signing import Project
from backend.signing.session import RING, SECRETS, Session
from backend.signing.store import PUBLIC, Key, Store

#: Packages that one call of rpmsign gets.
_AT_ONCE = 50
#: For a gpg that runs beside another one in the same home, and needs no keys.
_NO_KEYS = ("--no-keyring",)
#: Seconds that making a key may take; large ones wait for random numbers.
_MAKING = 300.0


class GpgBackend:
    """Keys lie in statedir; sessions live in rundir."""

    def __init__(self, config: Config) -> None:
        self.store = Store(config.statedir)
        self._config = config
        self._domain = config.signing_domain or _host(config)
        self._passphrase = config.signing_passphrase_file

    def ensure(self, project: Project) -> bool:
        """Have a usable key; one that expires gets a successor."""
        if self._usable(project):
            return False
        with self.store.locked(project):
            if self._usable(project):
                return False
            self._make(project)
        return True

    def _usable(self, project: Project) -> Key | None:
        key = self.store.current(project)
        return key if key and key.usable(time.time()) else None

    def key(self, project: Project) -> Key:
        """The key that signs; made now if there is none."""
        self.ensure(project)
        key = self.store.current(project)
        if key is None:
            raise InfrastructureError(f"the key of {project} has just gone away")
        return key

    def rotate(self, project: Project) -> Key:
        """Make a new key and sign with it from now on; readers keep the old one's public part."""
        with self.store.locked(project):
            self._make(project)
        return self.key(project)

    def public(self, project: Project) -> bytes:
        """The current key, and the old ones whose signatures may still be met."""
        now, keep = time.time(), self._config.signing_keep_days * 86400
        self.ensure(project)
        keys = [key for key in self.store.keys(project) if key.published(now, keep)]
        return b"".join(self.store.public(project, key) for key in keys)

    def all_replaced(self, project: Project) -> None:
        """Nothing carries a signature of an old key any more."""
        with self.store.locked(project):
            now = int(time.time())
            for key in self.store.keys(project)[1:]:
                if not key.replaced:
                    self.store.change(project, replace(key, replaced=now))
                elif not key.published(now, self._config.signing_keep_days * 86400):
                    self.store.remove(project, key)

    def sign_copies(self, project: Project, copies: Sequence[Path]) -> None:
        """Let rpmsign add the signature, with nothing but macros that every rpm since 4.14
        knows (`_openpgp_sign_id` is rpm 6's word for `_gpg_name`)."""
        key = self.key(project)
        tools = find_all(["gpg", "rpmsign"])
        macros = {
            "__gpg": tools["gpg"],
            "_gpg_name": key.fingerprint,
            "_openpgp_sign_id": key.fingerprint,
            "_gpg_digest_algo": "sha256",
        }
        defined = [word for item in macros.items() for word in ("--define", " ".join(item))]
        with self._session(project, key) as session:
            for some in _batches(copies):
                argv = [tools["rpmsign"], "--resign", *defined, *map(str, some)]
                limit = self._config.signing_timeout * len(some)
                self._run(session, argv, f"packages of {project}", limit)

    def sign_file(self, project: Project, path: Path) -> bytes:
        """`gpg --detach-sign`."""
        key = self.key(project)
        with self._session(project, key) as session:
            target = session.home / "signature"
            argv = [find("gpg"), "--local-user", key.fingerprint, "--output", str(target)]
            argv += ["--detach-sign", str(path)]
            self._run(session, argv, str(path), self._config.signing_timeout)
            return target.read_bytes()

    def export(self, project: Project, how: Sequence[str]) -> bytes:
        """The secret key, encrypted by gpg as its arguments `how` say; it goes from one gpg to
        the other and is never ours."""
        key = self.key(project)
        gpg = find("gpg")
        with self._session(project, key) as session:
            argv = [gpg, "--export-secret-keys", key.fingerprint]
            into = [gpg, *_NO_KEYS, "--armor", *how]
            limit = self._config.signing_timeout
            return self._run(session, argv, f"the export of {project}", limit, into)

    def take(self, project: Project, file: Path, passphrase_file: Path | None) -> Key:
        """Make an exported key the current one; with a file whose first line decrypts it."""
        gpg = find("gpg")
        load = [gpg, "--import"]
        with self.store.locked(project), self.store.new(project) as made:
            (made / SECRETS).mkdir(mode=0o700)
            with Session(self._config.rundir, made, self._passphrase) as session:
                argv, into = [*load, str(file)], None
                if passphrase_file:
                    opened = ["--passphrase-file", str(passphrase_file.absolute())]
                    argv, into = [gpg, *_NO_KEYS, *opened, "--decrypt", str(file)], load
                limit = self._config.signing_timeout
                self._run(session, argv, f"with {file}", limit, into)
                return self._finish(project, session, made)

    def _session(self, project: Project, key: Key) -> Session:
        where = self.store.directory(project, key)
        return Session(self._config.rundir, where, self._passphrase)

    def _make(self, project: Project) -> None:
        """Make a key and have it be the current one; hold the lock."""
        uid = f"{project.real_name} <{project.address(self._domain)}>"
        days = self._config.signing_key_days
        with self.store.new(project) as made:
            (made / SECRETS).mkdir(mode=0o700)
            with Session(self._config.rundir, made, self._passphrase) as session:
                # An empty passphrase is no secret; another one comes from its file.
                plain = [] if self._passphrase else ["--passphrase", ""]
                argv = [find("gpg"), *plain, "--allow-freeform-uid", "--quick-generate-key", uid]
                argv += [self._config.signing_key_type, "sign", f"{days}d" if days else "never"]
                self._run(session, argv, f"for {project}, its key", _MAKING)
                self._finish(project, session, made)

    def _finish(self, project: Project, session: Session, made: Path) -> Key:
        """The key that a session has made or read becomes the current one."""
        gpg = find("gpg")
        secret = self._run(session, [gpg, "--with-colons", "--list-secret-keys"], "a key", 60)
        key = _described(secret)
        export = [gpg, "--armor", "--export", key.fingerprint]
        (made / PUBLIC).write_bytes(self._run(session, export, "its public part", 60))
        shutil.copyfile(session.home / RING, made / RING)
        revocation = session.home / "openpgp-revocs.d" / f"{key.fingerprint}.rev"
        if revocation.exists():
            shutil.copyfile(revocation, made / "revocation.asc")
        for file in made.iterdir():
            file.chmod(0o700 if file.is_dir() else 0o600)
        self.store.adopt(project, made, key)
        return key

    def _run(
        self,
        session: Session,
        argv: Sequence[str],
        what: str,
        limit: float,
        into: Sequence[str] | None = None,
    ) -> bytes:
        """Run gpg or rpmsign; every fault is the farm's."""
        try:
            result = session.run(argv, timeout=limit, into=into)
        except ToolError as error:
            raise InfrastructureError(f"cannot sign {what}: {error}") from error
        if result.code:
            reason = _reason(result.stderr) or result.last_line
            raise InfrastructureError(f"cannot sign {what}: {reason}")
        return result.stdout


def _described(listing: bytes) -> Key:
    """The only secret key in `--with-colons --list-secret-keys`."""
    rows = [line.split(":") for line in listing.decode("utf-8", "replace").splitlines()]
    found = {row[0]: row for row in reversed(rows) if row[0] in ("sec", "fpr", "uid")}
    if set(found) != {"sec", "fpr", "uid"} or sum(row[0] == "sec" for row in rows) != 1:
        raise InfrastructureError("there is no secret key, or more than one")
    main = found["sec"]
    return Key(
        fingerprint=found["fpr"][9],
        type=f"rsa{main[2]}" if main[3] == "1" else main[16] or f"algorithm {main[3]}",
        uid=found["uid"][9],
        created=int(main[5]),
        expires=int(main[6] or 0),
    )


def _reason(stderr: bytes) -> str:
    """What gpg says; rpmsign's own last line only tells that it failed."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    own = [line.strip() for line in lines if line.startswith("gpg: ")]
    return "; ".join(dict.fromkeys((own or lines)[-3:]))


def _batches(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for at in range(0, len(paths), _AT_ONCE):
        yield paths[at : at + _AT_ONCE]


def _host(config: Config) -> str:
    return (
        config.public_url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0]
    )
