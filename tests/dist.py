"""Test the wheel in `dist` with each extra, in new environments: `make dist`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from .limits import HANG_SECONDS

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
QUICKSTART = ROOT / "examples" / "quickstart.py"
NEEDS_CLI = 'rescalehtc: error: the command needs more packages: pip install "rescalehtc[cli]>=2"'
NEEDS_EMULATOR = 'pip install "rescalehtc[emulator]>=2"'
IMPORTS = {
    "verify": "jwt",
    "otel": "rescalehtc.otel",
    "pandas": "pandas",
    "storage": "rescalehtc.files, obstore, fsspec",
    "map": "cloudpickle, obstore",
    "emulator": "rescalehtc.emulator",
    "cli": "rescalehtc.cli",
}


class Installed:
    """A new environment with the wheel, whose commands have no other variables."""

    def __init__(self, folder: Path, wheel: Path, extras: str) -> None:
        self._folder = folder
        self._environment = {
            **{name: os.environ[name] for name in ("LANG", "SSL_CERT_FILE") if name in os.environ},
            "HOME": str(folder),
            "PATH": f"{folder / 'env' / 'bin'}:/usr/bin:/bin",
            "UV_CACHE_DIR": str(folder.parent / "cache"),
            "UV_PYTHON_DOWNLOADS": "never",
        }
        folder.mkdir()
        self.run(str(UV), "venv", "--quiet", "--python", sys.executable, "env")
        pins = ("--constraint", str(ROOT / "requirements.txt"))
        package = f"{wheel}[{extras}]" if extras else str(wheel)
        self.run(str(UV), "pip", "install", "--quiet", "--python", "env", *pins, package)

    def run(self, *command: str, fails_with: str = "") -> str:
        """Run a command and return what it prints.

        Raises:
            SystemExit: The command failed, or did not fail with `fails_with`.
        """
        done = subprocess.run(
            command,
            env=self._environment,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_SECONDS,
        )
        if bool(done.returncode) != bool(fails_with) or fails_with not in done.stdout:
            sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
        return done.stdout


def check(folder: Path, wheel: Path, extras: str) -> None:
    """Install the wheel with these extras, and use them."""
    installed = Installed(folder, wheel, extras)
    installed.run("python", "-c", "import rescalehtc; rescalehtc.HtcSession(api_key='key')")
    for extra in filter(None, extras.split(",")):
        installed.run("python", "-c", f"import {IMPORTS[extra]}")
    installed.run("rescalehtc", "--help", fails_with="" if "cli" in extras else NEEDS_CLI)
    has_emulator = "emulator" in extras
    quickstart = ("python", "-m", "rescalehtc.emulator", "--", "python", str(QUICKSTART))
    printed = installed.run(*quickstart, fails_with="" if has_emulator else NEEDS_EMULATOR)
    if has_emulator and "148,933 primes below 2,000,000" not in printed:
        sys.exit(printed)
    print(f"installed {wheel.name} with {extras or 'no extra'}: it works")


def main() -> None:
    """Check the wheel in the folder that is the argument."""
    (wheel,) = Path(sys.argv[1]).resolve().glob("*.whl")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = list(project["optional-dependencies"])
    with tempfile.TemporaryDirectory() as folder:
        for number, chosen in enumerate(["", *extras, ",".join(extras)]):
            check(Path(folder, str(number)), wheel, chosen)


if __name__ == "__main__":
    main()
