"""Known vulnerabilities of the locked packages, as the Python Package Index lists them.

Fails where a package has one that is not explained in `EXPLAINED`. Where the index cannot be asked, it says so and
passes: `make lint` works without a network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXPLAINED: dict[str, str] = {}  # identifier of an advisory: why it does not concern this project
LIMIT = 180  # seconds in all


def main() -> int:
    vulnerable = 0
    for lock in sorted(Path(__file__).parents[1].glob("lock-*.txt")):
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
            packages = json.loads(done.stdout)["dependencies"]
        except subprocess.TimeoutExpired:
            print(f"{lock.name}: not checked: no answer of the index within {LIMIT} seconds")
            continue
        except ValueError:
            last = (done.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]
            print(f"{lock.name}: not checked: no network ({last[:200]})")
            continue
        checked = [package for package in packages if "vulns" in package]
        if unknown := len(packages) - len(checked):
            print(
                f"{lock.name}: not checked: {unknown} of {len(packages)} packages, which the index here says nothing of"
            )
        for package in checked:
            for found in package["vulns"]:
                names = [found["id"], *found["aliases"]]
                reason = next((EXPLAINED[name] for name in names if name in EXPLAINED), None)
                vulnerable += reason is None
                print(f"{package['name']} {package['version']}: {', '.join(names)}: {reason or 'update it'}")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
