"""Shell texts that make a source package, run in the sandbox; and what each of them needs.

All end with source packages in /builddir/results. Exit code 85 means that a tool is missing.
"""

from dataclasses import dataclass

#: Common to all. `need` ends the script when a tool is not there; `enter` goes to a directory of
#: the repository; `keep` hands out what a tool has left in a directory; `remote` fetches the
#: sources that a spec file names by URL; `srpm` makes the source package of a spec file in the
#: current directory.
PRELUDE = r"""
need() {
  command -v "$1" >/dev/null || { echo "error: $1 is not installed"; exit 85; }
}
enter() {
  [ -d "src/$1" ] || { echo "error: the repository has no directory $1"; exit 83; }
  cd "src/$1" || exit 83
}
keep() {
  find "$1" -maxdepth 2 -type f -name '*.src.rpm' -exec cp -- {} /builddir/results/ \;
}
remote() {
  rpmspec -P "$1" >/builddir/parsed || return 1
  sed -n -E 's/^(Source|Patch)[0-9]*:[[:space:]]*((https?|ftp):[^[:space:]]+).*/\2/Ip' \
    /builddir/parsed >/builddir/urls
  while read -r url; do
    name=${url##*/}
    case $name in ""|.*|-*) echo "error: $url names no file"; return 1;; esac
    [ -e "$name" ] && continue
    need curl
    echo "Fetching $url"
    curl --fail --silent --show-error --location --max-redirs 5 --output "$name" -- "${url%%#*}" \
      || return 1
  done </builddir/urls
}
srpm() {
  rpmbuild -bs --nodeps --define "_topdir /builddir/rpmbuild" --define "_sourcedir $PWD" \
    --define "_srcrpmdir /builddir/results" -- "$1"
}
one_spec() {
  spec=$1
  [ "$spec" ] && return
  set -- *.spec
  [ $# = 1 ] && [ -f "$1" ] || {
    echo "error: exactly one spec file is needed, here is: $*"
    exit 84
  }
  spec=$1
}
"""

SPEC_URL = r"""
mkdir spec && cd spec && cp /in/*.spec . || exit 1
one_spec ""
remote "$spec" && srpm "$spec"
"""

SVN = r"""
need svn
svn checkout --quiet --non-interactive -r "${2:-HEAD}" -- "$1" src || exit 81
svn info --show-item revision src >/builddir/results/commit || exit 81
"""

#: $1: subdirectory, $2: spec file below it, or nothing.
RPKG = r"""
enter "$1"
if command -v rpkg >/dev/null; then
  mkdir /builddir/made
  rpkg srpm --outdir /builddir/made ${2:+--spec "$2"} && keep /builddir/made
  exit
fi
one_spec "$2"
if grep -q '{{{' "$spec"; then
  echo "$spec is a template"
  need rpkg
fi
cd "$(dirname "$spec")" && spec=$(basename "$spec") && remote "$spec" && srpm "$spec"
"""

TITO = r"""
need tito
enter "$1"
mkdir /builddir/made
tito build $2 --srpm --output /builddir/made && keep /builddir/made
"""

MAKE = r"""
need make
top=$PWD/src
enter "$1"
makefile=$top/.copr/Makefile
[ -f "$makefile" ] || makefile=$PWD/.copr/Makefile
[ -f "$makefile" ] || { echo "error: there is no .copr/Makefile"; exit 84; }
mkdir /builddir/made
make -f "$makefile" srpm outdir=/builddir/made spec="$2" && keep /builddir/made
"""

#: $1: name, $2: version or nothing, the rest: Python versions.
PYP2SPEC = r"""
need pyp2spec
mkdir spec && cd spec || exit 1
name=$1 version=$2
pyp2spec --automode ${version:+--version "$version"} -- "$name" || exit 1
one_spec ""
remote "$spec" && srpm "$spec"
"""

PYP2RPM = r"""
need pyp2rpm
name=$1 version=$2 template=$3
shift 3
mkdir /builddir/made
base=-b
set -- "$@" end
while [ "$1" != end ]; do
  set -- "$@" "$base" "$1"
  base=-p
  shift
done
shift
pyp2rpm "$name" ${template:+-t "$template"} --srpm -d /builddir/made "$@" \
  ${version:+-v "$version"} && keep /builddir/made
"""

GEM2RPM = r"""
need gem2rpm
mkdir /builddir/made
gem2rpm --fetch --srpm -C /builddir/made -- "$1" && keep /builddir/made
"""

#: $1: where the script leaves its results, below its working directory.
CUSTOM = r"""
mkdir workdir && cd workdir || exit 1
[ -e /in/hook_payload ] && cp /in/hook_payload .
cp /in/script /builddir/script && chmod 755 /builddir/script
COPR_RESULTDIR=/builddir/workdir/$1
mkdir -p "$COPR_RESULTDIR"
export COPR_RESULTDIR
/builddir/script || { echo "error: the script ended with exit code $?"; exit 1; }
cd "$COPR_RESULTDIR" || exit 1
keep .
ls /builddir/results/*.src.rpm >/dev/null 2>&1 && exit 0
one_spec ""
srpm "$spec"
"""


@dataclass(frozen=True)
class Tool:
    """A program that a recipe needs, and where it comes from (Debian; Fedora)."""

    name: str
    debian: str
    fedora: str

    @property
    def remedy(self) -> str:
        """How the owner of the machine gets it."""
        have = f"apt-get install {self.debian}" if self.debian else "Debian has no package of it"
        return f"{self.name} is not installed on this machine: {have}; Fedora: {self.fedora}"


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("svn", "subversion", "subversion"),
        Tool("make", "make", "make"),
        Tool("curl", "curl", "curl"),
        Tool("git", "git", "git"),
        Tool("rpkg", "", "rpkg-util"),
        Tool("tito", "", "tito"),
        Tool("pyp2spec", "", "pyp2spec"),
        Tool("pyp2rpm", "", "pyp2rpm"),
        Tool("gem2rpm", "", "rubygem-gem2rpm"),
    )
}
