"""What lets a build give the very same RPMs again: its times come from the source package, and
every machine has the same name.

rpm takes SOURCE_DATE_EPOCH from the newest entry of the spec's changelog, for its own times and
for compilers and archivers that know the variable; files that are younger than that get that
time. A spec without changelog has the time at which its source package was made.
"""

from collections.abc import Mapping
from pathlib import Path

from backend.builders import rpmheader
from backend.exceptions import BuildError

BUILD_HOST = "copr-backend"
#: rpm since 4.14; `build_mtime_policy` is what 4.20 calls clamping. An older one ignores them.
MACROS: Mapping[str, str] = {
    "source_date_epoch_from_changelog": "1",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "build_mtime_policy": "clamp_to_source_date_epoch",
    "_buildhost": BUILD_HOST,
}


def macros() -> str:
    """The same as a file of macros."""
    return "".join(f"%{name} {value}\n" for name, value in MACROS.items())


def epoch(srpm: Path) -> str:
    """SOURCE_DATE_EPOCH for a source package; empty where rpm finds it in the changelog."""
    try:
        header = rpmheader.read(srpm, check=False)
    except BuildError:
        return ""  # only librpm can read it
    if header.numbers(rpmheader.CHANGELOGTIME):
        return ""
    return str(next(iter(header.numbers(rpmheader.BUILDTIME)), ""))
