"""What a task asks of mock that it cannot do on this machine."""

import os

from backend.builders import BuildRequest, mockconfig, mocksite
from backend.config import Config


def of(config: Config, request: BuildRequest) -> tuple[str, ...]:
    """One line for each setting of the request that has no effect here, or another one."""
    root = request.buildroot
    wanted = root.isolation
    here = mocksite.has("mock")  # else another machine builds
    simple = here and mocksite.isolation(config, wanted) == "simple"
    image = here and root.bootstrap in ("image", "custom_image") and not mocksite.has("podman")
    known = (*mockconfig.UNSET, *mockconfig.BOOTSTRAPS)
    isolations = (*mockconfig.UNSET, *mockconfig.ISOLATIONS)
    notes = {
        f"isolation {wanted} not used: mock knows nspawn, simple and auto": (
            wanted not in isolations
        ),
        f"isolation {wanted} not used: systemd-nspawn is not installed on this host": (
            wanted == "nspawn" and simple
        ),
        "the build is not cut off from the network: isolation simple cannot do that": (
            simple and not request.enable_net
        ),
        f"bootstrap {root.bootstrap} not used: mock does not know it": root.bootstrap not in known,
        "no bootstrap image: podman is not installed on this host": image,
        "fedora-review not run: this backend does not start it": root.fedora_review,
        f"the project asks for {root.memory} MB of memory, this host has {_memory()}": (
            here and root.memory > _memory()
        ),
    }
    return tuple(text for text, applies in notes.items() if applies)


def _memory() -> int:
    """MB of memory of this host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2
