"""Runs `make test` on each CPython of this machine, and on the oldest versions that are allowed.

`make matrix` calls it. Missing interpreters are skipped, not downloaded.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

# Extras whose code the tests run.
PACKAGE = ".[cli,emulator,otel,pandas,storage,verify]"

# As in `make test`.
LEFT_OUT = tuple(f"--ignore=tests/{name}" for name in ("tools", "docs", "containers", "release"))

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.stop_on_first_error = False
# Do not let uv write into the home folder or download interpreters.
os.environ["UV_CACHE_DIR"] = str(Path(".nox/cache").resolve())
os.environ["UV_PYTHON_DOWNLOADS"] = "never"


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Run the tests with the versions that the project is developed with."""
    session.install("--constraint", "requirements.txt", "--editable", PACKAGE)
    session.install("--requirement", "requirements.txt")
    session.run("python", "-m", "pytest", *LEFT_OUT, *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest versions that pyproject.toml allows."""
    session.install("--requirement", "requirements.txt")
    # The SDK and the API of OpenTelemetry must have the same version.
    oldest = ("--editable", PACKAGE, "opentelemetry-sdk>=1.30")
    session.install("--upgrade", "--resolution", "lowest-direct", *oldest)
    session.run("python", "-m", "pytest", *LEFT_OUT, *session.posargs)
