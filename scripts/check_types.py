"""Runs mypy strictly over the package, and asserts that it looked at every file, the linked folders' too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE_FOLDERS = ("schedulemesh/core", "schedulemesh/runtime", "schedulemesh/raycompat", "supervisor", "client")
LOOSE_FOLDERS = ("scripts", "tests", "examples")
IMPORTED_FROM = (
    ".",
    "tests/helpers",
    "scripts",
    "scripts/bench",
    "scripts/soak",
    "scripts/demo/driver_a",
    "scripts/demo/driver_b",
    "scripts/chaoslib/driver",
)


def main() -> int:
    package = [ROOT / "schedulemesh/__init__.py"]
    for folder in PACKAGE_FOLDERS:
        package += (ROOT / folder).rglob("*.py")
    loose = [str(path.relative_to(ROOT)) for folder in LOOSE_FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    checked = _mypy("-p", "schedulemesh")
    if checked != len(package):
        print(f"mypy checked {checked} files of the package, there are {len(package)}: some are not seen")
        return 1
    # Scripts and tests import what lies beside them; so does mypy.
    beside = os.pathsep.join(str(ROOT / folder) for folder in IMPORTED_FROM)
    return 0 if _mypy("--explicit-package-bases", *loose, MYPYPATH=beside) == len(loose) else 1


def _mypy(*arguments: str, **env: str) -> int:
    """How many files were checked; the process ends here when any has an error."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "mypy", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr, end="")
    found = re.search(r"no issues found in (\d+) source file", done.stdout)
    if done.returncode != 0 or found is None:
        sys.exit(1)
    return int(found.group(1))


if __name__ == "__main__":
    sys.exit(main())
