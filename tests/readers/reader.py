"""A reader as dnf is one: repomd.xml, then all that it names, each held against its checksum."""

import gzip
import hashlib
import random
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import urllib3

_REPO = "{http://linux.duke.edu/metadata/repo}"
_COUNT = re.compile(rb'packages="(\d+)"')
_IDS = {
    "primary": re.compile(rb'pkgid="YES">([0-9a-f]{64})<'),
    "filelists": re.compile(rb'<package pkgid="([0-9a-f]{64})"'),
    "other": re.compile(rb'<package pkgid="([0-9a-f]{64})"'),
}
_PLACE = re.compile(
    rb'pkgid="YES">([0-9a-f]{64})<.*?<size package="(\d+)".*?<location href="([^"]+)"', re.DOTALL
)


class Reader:
    """Reads one repository over HTTP."""

    def __init__(self, url: str, seed: int) -> None:
        self._url, self._random = url, random.Random(seed)
        self._http = urllib3.PoolManager(retries=False, timeout=60)

    def read(self) -> Iterator[str]:
        """What is wrong with the state that is live when it begins; nothing, normally."""
        status, repomd = self._get("repodata/repomd.xml")
        if status != 200:
            yield f"repomd.xml: {status}"
            return
        files: dict[str, bytes] = {}
        for data in ElementTree.fromstring(repomd).iter(f"{_REPO}data"):
            place = data.find(f"{_REPO}location")
            assert place is not None
            status, content = self._get(place.get("href", ""))
            digest = hashlib.sha256(content).hexdigest()
            if status != 200:
                yield f"{place.get('href')}: {status}"
            elif digest != data.findtext(f"{_REPO}checksum"):
                yield f"{place.get('href')}: wrong checksum"
            elif str(len(content)) != data.findtext(f"{_REPO}size"):
                yield f"{place.get('href')}: wrong size"
            else:
                files[data.get("type", "")] = content
        if files.keys() >= _IDS.keys():
            yield from self._packages({kind: gzip.decompress(files[kind]) for kind in _IDS})

    def _packages(self, texts: dict[str, bytes]) -> Iterator[str]:
        """All three list the same packages, as many as they say; some are looked at."""
        lists = {kind: pattern.findall(texts[kind]) for kind, pattern in _IDS.items()}
        if len({tuple(found) for found in lists.values()}) != 1:
            yield f"the files list different packages: { {k: len(v) for k, v in lists.items()} }"
        for kind, found in lists.items():
            count = _COUNT.search(texts[kind])
            if count is None or int(count[1]) != len(found):
                yield f"{kind} lists {len(found)} packages, and says {count and count[1]!r}"
            ElementTree.fromstring(texts[kind])
        places = _PLACE.findall(texts["primary"])
        for digest, size, href in self._random.sample(places, min(3, len(places))):
            status, content = self._get(href.decode())
            if status != 200 or len(content) != int(size):
                yield f"{href.decode()}: {status}, {len(content)} bytes instead of {int(size)}"
            elif hashlib.sha256(content).hexdigest() != digest.decode():
                yield f"{href.decode()}: wrong checksum"

    def _get(self, path: str) -> tuple[int, bytes]:
        answer = self._http.request("GET", f"{self._url}/{path}")
        return answer.status, answer.data
