"""What `make setup` installs: exact versions with hashes, which fit pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("lock-*.txt"))
PINNED = re.compile(r"^([a-z0-9._-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def locked(path: Path) -> dict[str, str]:
    """Versions by name."""
    return {canonicalize_name(name): version for name, version, _ in PINNED.findall(path.read_text())}


def asked(project: dict, extra: str | None = None) -> list[Requirement]:
    """What the project asks for, with the extras that an extra consists of."""
    names = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    found = []
    for requirement in map(Requirement, names):
        own = canonicalize_name(requirement.name) == "fer-lightning"
        found += [each for part in requirement.extras for each in asked(project, part)] if own else [requirement]
    return found


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_nothing_but_exact_versions_with_hashes(path):
    assert PINNED.sub("", path.read_text()).strip() == ""
    assert len(locked(path)) > 100


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_the_lock_fits_what_the_project_asks_for(path):
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = locked(path)
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    for requirement in [*asked(project), *asked(project, "dev")]:
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is missing: make lock"
        assert versions[name] in requirement.specifier, f"{requirement} and {versions[name]} differ: make lock"
    for pin in map(Requirement, pins):
        name = canonicalize_name(pin.name)
        assert name not in versions or versions[name] in pin.specifier, f"{pin} and {versions[name]} differ: make lock"


def test_releases_that_stole_credentials_are_excluded():
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]
    specifiers = {
        requirement.name: requirement.specifier for requirement in [*asked(project), *asked(project, "train")]
    }
    for version in ("2.6.2", "2.6.3"):
        assert version not in specifiers["pytorch-lightning"]
    assert "1.3.7" not in specifiers["hydra-core"]
