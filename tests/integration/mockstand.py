#!/usr/bin/env python3
"""Stands in for mock 6.7 where there is none: the same command line, logs and exit codes.

The configuration is executed as mock does it, into a plain dictionary; what the package is called
says how its build ends. Every start is noted in `starts.json` of the base directory.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

DNF_MISSING = """\
DEBUG util.py:460:  No matching package to install: 'libnothere-devel >= 3'
DEBUG util.py:460:  Not all dependencies satisfied
DEBUG util.py:460:  Error: Some packages could not be found.
"""
DNF_DEAD = (
    "DEBUG util.py:460:  Error: Failed to download metadata for repo 'mini': Cannot download"
    " repomd.xml: Cannot download repodata/repomd.xml: All mirrors were tried\n"
)


def arguments() -> dict[str, Any]:
    found: dict[str, Any] = {"scrub": []}
    words = iter(sys.argv[1:])
    for word in words:
        if word == "--print-root-path":
            found["print"] = True
        elif word == "--scrub":
            found["scrub"].append(next(words))
        else:
            found[word.lstrip("-")] = next(words)
    return found


def configuration(path: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "basedir": "/nonexistent",
        "root": "",
        "cache_topdir": "/nonexistent",
        "plugin_conf": {"root_cache_opts": {}},
        "nspawn_args": [],
        "dnf.conf": "[main]\n",
        "chroot_additional_packages": "",
    }

    def include(name: str) -> None:
        exec(Path(name).read_text(), {}, {"config_opts": options, "include": include})

    try:
        include(path)
    except Exception as error:  # noqa: BLE001  (as mock)
        print(f"ERROR: Config error: {path}: {error}", flush=True)
        raise SystemExit(3) from None
    return options


class Run:
    def __init__(self, args: dict[str, Any], options: dict[str, Any]) -> None:
        self.args, self.options = args, options
        self.place = Path(options["basedir"], f"{options['root']}-{args.get('uniqueext', '')}")
        self.result = Path(args["resultdir"])

    def log(self, name: str, text: str) -> None:
        with (self.result / f"{name}.log").open("a") as file:
            file.write(text)

    def state(self, text: str) -> None:
        self.log("state", f"2026-11-24 15:19:55,503 - {text}\n")
        print(text, flush=True)

    def build(self) -> int:
        (self.place / "root" / "builddir").mkdir(parents=True)
        self.state("Start: chroot init")
        self.log("root", "DEBUG util.py:557:  Executing command: ['dnf']\n")
        self.log("hw_info", "CPU info:\n")
        self.state("Finish: chroot init")
        package = Path(self.args["rebuild"]).name.partition("-")[0]
        # Without a spec file mock guesses its name, sometimes wrongly.
        assert f"Name: {package}" in Path(self.args["spec"]).read_text()
        code: int = getattr(self, package, self.hello)()
        shutil.rmtree(self.place)
        return code

    def missing(self) -> int:
        self.log("root", DNF_MISSING)
        print("Error: Some packages could not be found.", flush=True)
        return 30

    def dead(self) -> int:
        self.log("root", DNF_DEAD)
        return 30

    def empty(self) -> int:
        shutil.copy(self.args["rebuild"], self.result)
        return 0

    def slow(self) -> int:
        self.state("Start: rpmbuild slow")
        note = self.place / "orphan"  # its name tells the test whose process it is
        note.touch()
        child = subprocess.Popen(["tail", "-f", str(note)], stdout=subprocess.DEVNULL)
        try:
            note.write_text(str(child.pid))
            print("rpmbuild is at work", flush=True)  # whereupon a test may interrupt us
            return child.wait()
        finally:
            child.kill()

    def hanging(self) -> int:
        self.log("root", "DEBUG util.py:558:  Executing command: ['/usr/bin/dnf-3', 'install']\n")
        return self.slow()

    def deaf(self) -> int:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return self.slow()

    def cut(self) -> int:
        self.state("Start: creating root cache")
        print("half a cache", flush=True)
        return self.slow()

    def bootcut(self) -> int:
        self.state("Start(bootstrap): creating root cache")
        return self.slow()

    def hello(self) -> int:
        self.log("installed_pkgs", "mini-distro-1-1.x86_64 1795533283 363918088 installed\n")
        top = self.place / "root" / "builddir" / "build"
        argv = ["rpmbuild", "--rebuild", "--nodeps", "--define", f"_topdir {top}"]
        argv += ["--define", f"_dbpath {top}/db", self.args["rebuild"]]
        made = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        print(made.stdout, flush=True)
        self.log("build", f"{made.stdout}Child return code was: {made.returncode}\n")
        if made.returncode:
            print("ERROR: Command failed: \n # bash --login -c rpmbuild\n", flush=True)
            return 1
        for rpm in (*top.glob("RPMS/*/*.rpm"), *top.glob("RPMS/*.rpm")):
            try:
                shutil.copy2(rpm, self.result)
            except OSError as error:
                text = f"Can not copy {rpm} into resultdir {self.result}: {error}"
                print(f"ERROR: {text}", flush=True)
                shutil.rmtree(self.place)
                return 1
        shutil.copy(self.args["rebuild"], self.result)
        return 0


def note(options: dict[str, Any], args: dict[str, Any]) -> None:
    seen = {"argv": sys.argv[1:], "uid": os.geteuid(), "dnf.conf": options["dnf.conf"]}
    seen["caches"] = options["cache_topdir"]
    if "macro-file" in args:
        seen["macros"] = Path(args["macro-file"]).read_text()
    with Path(options["basedir"], "starts.json").open("a") as file:
        file.write(json.dumps(seen) + "\n")


def main() -> int:
    args = arguments()
    options = configuration(args["r"])
    if args.get("print"):
        return 0
    note(options, args)
    if args["scrub"]:
        if args["scrub"] == ["root-cache"]:
            return 0
        place = Path(options["basedir"], f"{options['root']}-{args['uniqueext']}")
        with contextlib.suppress(OSError):
            os.kill(int((place / "orphan").read_text()), signal.SIGKILL)
        shutil.rmtree(place, True)
        return 0
    print("INFO: mock.py version 6.7 starting\nINFO: Signal handler active", flush=True)
    run = Run(args, options)
    try:
        return run.build()
    except KeyboardInterrupt:
        shutil.rmtree(run.place, True)
        print("ERROR: Exiting on user interrupt, <CTRL>-C", flush=True)
        return 7


if __name__ == "__main__":
    sys.exit(main())
