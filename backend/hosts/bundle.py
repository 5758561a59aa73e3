"""What is shipped to a host: the small part of this package that builds, as one zip file.

It is named by its hash, sent once, checked there and unpacked beside its siblings. Nothing is
installed on the host but Python.
"""

import ast
import functools
import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.exceptions import ConfigError

AGENT = "backend.hosts.agent"
#: The first bytes that the agent says; what login scripts print before it is not ours.
GREETING = b"\0copr-backend agent\0"
#: Beside modules, files of these kinds belong to a package.
_DATA = (".macros", ".json", ".txt", ".conf", ".cfg", ".tpl")
_EPOCH = (1980, 1, 1, 0, 0, 0)

#: Runs on the host: unpacks what it is sent, unless it has it, and becomes the agent.
_LOADER = """
import sys
def say(word):
    sys.stdout.buffer.write(%(greeting)r + word.encode() + b"\\n")
    sys.stdout.buffer.flush()
if sys.version_info < (3, 11):
    say("python " + sys.version.split()[0])
    sys.exit(3)
import hashlib, io, os, shutil, tempfile, zipfile
digest, size, base = sys.argv[1], int(sys.argv[2]), sys.argv[3]
try:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    base = base or os.path.join(cache, "copr-backend")
    os.makedirs(os.path.join(base, "agent"), mode=0o700, exist_ok=True)
    if os.stat(base).st_uid != os.geteuid():
        raise OSError(base + " belongs to somebody else")
    place = os.path.join(base, "agent", digest)
    if not os.path.isdir(place):
        say("send")
        data = b""
        while len(data) < size:  # not a byte more: what follows is for the agent
            part = os.read(0, min(65536, size - len(data)))
            if not part:
                sys.exit(5)
            data += part
        if hashlib.sha256(data).hexdigest() != digest:
            raise OSError("the agent arrived damaged")
        new = tempfile.mkdtemp(dir=os.path.dirname(place))
        try:
            zipfile.ZipFile(io.BytesIO(data)).extractall(new)
            os.sync()
            os.rename(new, place)
        except OSError:
            if not os.path.isdir(place):
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
    os.utime(place)
    say("ready")
except OSError as error:
    say("trouble " + str(error))
    sys.exit(4)
sys.path.insert(0, place)
from %(agent)s import main
main(base)
"""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The zip file and its name."""

    data: bytes
    digest: str


@functools.cache
def bundle(builder_module: str) -> Bundle:
    """The agent, and the builder that the module has with all that it imports of its own.

    Of a foreign package its own modules are taken, not those that it needs from others.
    """
    packages = {"backend", builder_module.partition(".")[0]}
    files: dict[str, bytes] = {}
    waiting, seen = [AGENT, "backend.builders.plugin", builder_module], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] not in packages:
            continue
        seen.add(name)
        found = _origin(name)
        if found is None:
            continue
        path, package = found
        files[name.replace(".", "/") + ("/__init__.py" if package else ".py")] = path.read_bytes()
        if package:
            files.update(_data_files(name, path.parent))
        waiting += [name.rpartition(".")[0], *_imports(path.read_bytes(), name, package)]
    return _zip(files)


def _zip(files: dict[str, bytes]) -> Bundle:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):  # the same content makes the same bytes
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    data = buffer.getvalue()
    return Bundle(data=data, digest=hashlib.sha256(data).hexdigest())


def _origin(name: str) -> tuple[Path, bool] | None:
    """The source file of a module, and whether it is a package; None if there is no module."""
    if not name:
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        if spec is not None and spec.origin:
            raise ConfigError(f"{name} is no Python source: it cannot be sent to a host")
        return None
    return Path(spec.origin), spec.submodule_search_locations is not None


def _data_files(package: str, directory: Path) -> dict[str, bytes]:
    prefix = package.replace(".", "/")
    return {
        f"{prefix}/{path.name}": path.read_bytes()
        for path in directory.iterdir()
        if path.suffix in _DATA and path.is_file()
    }


def _imports(source: bytes, module: str, package: bool) -> Iterator[str]:
    """Every module that may be imported, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + package]
                base = ".".join([*parts, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def remote_command(made: Bundle, python: str, directory: str) -> str:
    """What the user's shell on the host is asked to do, whichever shell that is."""
    loader = _LOADER % {"greeting": GREETING, "agent": AGENT}
    arguments = [made.digest, str(len(made.data)), directory or "''"]
    return f"exec {python} -I -c 'exec(bytes.fromhex(\"{loader.encode().hex()}\"))' " + " ".join(
        arguments
    )
