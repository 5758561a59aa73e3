"""Packaging of copr-backend; `pip install .[web]` brings the embedded frontend."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+?)"', (here / "backend/__init__.py").read_text())
assert version

WEB = [
    "alembic>=1.13",
    "fastapi>=0.115",
    "uvicorn>=0.30",
    "sqlalchemy>=2.0.30",
    "jinja2>=3.1",
    "python-multipart>=0.0.18",
    "httptools>=0.6",
]
QUICKSTART = [*WEB, "copr-cli>=2.0"]
BENCH = [
    "celery>=5.5",
    "dramatiq>=2.0",
    "huey>=3.0",
    "matplotlib>=3.9",
    "rq>=3.0",
]
DOCS = [
    "furo>=2024.8.6",
    "myst-parser>=4.0",
    "sphinx>=8.1",
]
ZSTD = ["backports.zstd>=1.0; python_version < '3.14'"]
TEST = [
    *ZSTD,
    "psycopg[binary]>=3.1",
    "fakeredis[lua]>=2.26",
    "httpx>=0.27",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "in-toto-attestation>=0.9.3",
    "mypy>=1.11",
    "playwright>=1.48",
    "pytest>=8.2",
    "pytest-randomly>=3.15",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.5",
    "ruff>=0.6",
    "spdx-tools>=0.8.2",
]

setup(
    name="copr-backend",
    version=version.group(1),
    description="Turns source packages into dnf repositories: an independent Copr backend",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="GPL-2.0-or-later",
    packages=find_packages(include=["backend", "backend.*"]),
    package_data={
        "backend": [
            "sample/*",
            "web/templates/*",
            "web/static/*",
            "web/migrations/*.mako",
            "builders/*.macros",
        ]
    },
    python_requires=">=3.11",
    install_requires=[
        "hiredis>=3.2",
        "lockfile>=0.12",
        "python-daemon>=3.0",
        "redis>=5.0",
        "retask>=1.1",
        "setproctitle>=1.3.3",
        "urllib3>=2.2",
    ],
    extras_require={
        "web": WEB,
        "postgresql": [*WEB, "psycopg[binary]>=3.1"],
        "quickstart": QUICKSTART,
        "zstd": ZSTD,
        "docs": DOCS,
        "test": QUICKSTART + TEST + DOCS,
        "bench": WEB + BENCH,
    },
    entry_points={"console_scripts": ["copr_be.py=backend.cli:main"]},
)
