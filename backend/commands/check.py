"""`copr_be.py check`: everything that a start needs, all faults at once, with remedies."""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from backend.commands import checks
from backend.commands.finding import CONFIGURATION, Finding
from backend.commands.master import Master
from backend.config import Config, load
from backend.constants import Exit
from backend.exceptions import ConfigError, CoprBackendError

_MARKS = {"ok": "ok      ", "warning": "warning ", "fault": "FAULT   "}


def run(path: Path, overrides: Mapping[str, str], pidfile: Path | None, *, as_json: bool) -> int:
    """Print what was found. 0: it can start; 1: something is missing; 2: bad configuration."""
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            out = sys.stderr if finding.level == "fault" else sys.stdout
            print(f"{_MARKS[finding.level]}{finding.name}: {finding.text}", file=out, flush=True)

    config = _configuration(path, overrides, found)
    if config:
        _look(config, pidfile, found)
    faults = sum(finding.level == "fault" for finding in findings)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    elif faults:
        print(f"copr_be.py: {faults} to correct, see FAULT above", file=sys.stderr)
    broken = any(f.name == CONFIGURATION and f.level == "fault" for f in findings)
    return Exit.USAGE if broken else Exit.FAILED if faults else Exit.OK


def _configuration(
    path: Path, overrides: Mapping[str, str], found: Callable[[Finding], None]
) -> Config | None:
    try:
        config = load(path, overrides)
    except ConfigError as error:
        for problem in error.problems:
            found(Finding(CONFIGURATION, "fault", problem))
        repaired: Config | None = error.repaired
        return repaired
    for note in config.notes:
        found(Finding(CONFIGURATION, "warning", note))
    found(Finding(CONFIGURATION, "ok", str(config.path)))
    return config


def _look(config: Config, pidfile: Path | None, found: Callable[[Finding], None]) -> None:
    try:
        master = Master.find(config, pidfile)
    except CoprBackendError as error:
        found(Finding("daemon", "fault", str(error)))
        master = None
    for finding in checks.everything(config, master):
        found(finding)
