"""The driver of mock for a host that has only the stand-in; tests send it there."""

import os
import pwd

from backend.builders import mockrun, mocksite
from backend.builders.mock import MockBuilder
from backend.builders.mocksite import User
from backend.config import Config
from backend.process import find


class StandIn(MockBuilder):
    """Finds mock beside its base directory. Only where it builds: `preflight` is asked there."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._top = config.builder_mock_basedir.parent

    def preflight(self) -> None:
        mock = str(self._top / "mock")
        name = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        entry = pwd.getpwnam(name)
        user = User(name=name, uid=entry.pw_uid, gid=entry.pw_gid, home=self._top)
        mockrun.find = (  # type: ignore[attr-defined]
            lambda program: mock if program == "mock" else find(program)
        )
        mockrun.GRACE = 25.0  # a loaded machine lets it hear its interrupt, too
        mocksite.user = lambda config: user
        mocksite.has = lambda program: program == "mock"
        super().preflight()
