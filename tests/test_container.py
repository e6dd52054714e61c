"""The container files agree with pyproject.toml, the lock and what the wheel is built from; no daemon is needed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def default(argument: str) -> str:
    """Default of a build argument."""
    [value] = re.findall(rf'^ARG {argument}="?(.*?)"?$', DOCKERFILE, re.M)
    return value


def test_python_and_lock_are_those_of_make_setup() -> None:
    lock = default("LOCK")
    assert (ROOT / lock).is_file()
    [version] = re.findall(r"-py(3\.\d+)\.txt$", lock)
    assert default("PYTHON").startswith(f"python:{version}-slim-")
    assert default("BASE") == "${PYTHON}"
    assert f'"Programming Language :: Python :: {version}"' in (ROOT / "pyproject.toml").read_text()
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert f"python:{version}-" in container["image"]
    assert container["onCreateCommand"].endswith("make setup")


def test_every_package_comes_from_the_lock() -> None:
    commands = re.split(r"&& |\nRUN ", DOCKERFILE.replace("\\\n", ""))
    installs = [command.split("uv/bin/uv ")[1] for command in commands if command.startswith("/opt/uv/bin/uv ")]
    assert len(installs) == 4
    assert all("--require-hashes" in install for install in installs[:3])
    assert installs[3].splitlines()[0] == "pip install --no-deps /wheel/*.whl"


def test_extras_and_program_exist() -> None:
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(default("EXTRAS").split()) <= set(project["optional-dependencies"])
    [command] = re.findall(r"^CMD (.*)$", DOCKERFILE, re.M)
    assert json.loads(command)[0] in project["scripts"]


def test_the_user_is_not_root() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert [int(user) for user in re.findall(r"^USER (.*)$", final, re.M)] == [10001]
    assert "--uid 10001" in final


def test_the_context_has_what_the_wheel_is_built_from_and_nothing_else() -> None:
    pathspec = pytest.importorskip("pathspec")  # of hatchling; the last pattern that matches decides, as in Docker
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone of the repository")
    names = set(listed.stdout.splitlines())
    ignored = pathspec.PathSpec.from_lines("gitignore", (ROOT / ".dockerignore").read_text().splitlines())
    sent = {name for name in names if not ignored.match_file(name)}
    wanted = {name for name in names if name.startswith(("fer_lightning/", "hydra_plugins/", "conf/"))}
    wanted |= {name for name in names if re.fullmatch(r"experiments/(credible|[^/]+/published)\.csv", name)}
    assert sent == wanted | {"pyproject.toml", "README.md", "LICENSE", default("LOCK")}
