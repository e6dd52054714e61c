"""The wheel and the source distribution: what they hold, and that the wheel works outside of the source tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
PUBLISHED = re.compile(r"experiments/(credible|[^/]+/published)\.csv")  # what fer report reads


class Distributions(NamedTuple):
    """Files of a build."""

    wheel: Path
    source: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return Distributions(next(folder.glob("*.whl")), next(folder.glob("*.tar.gz")))


@pytest.fixture(scope="module")
def installed(built: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment that has the wheel, and else the packages of this one."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(folder), "install", "--no-deps", str(built.wheel)]
    subprocess.run(pip, check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return folder / "bin"


def run(program: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([program, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def sources() -> set[str]:
    """Files of the project that git does not ignore."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("this is no clone of the repository")
    return {name for name in found.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_carries_what_the_commands_read_and_nothing_else(built: Distributions) -> None:
    carried = {name for name in zipfile.ZipFile(built.wheel).namelist() if ".dist-info/" not in name}
    wanted = {name for name in sources() if name.startswith(("fer_lightning/", "hydra_plugins/"))}
    wanted |= {f"fer_lightning/{name}" for name in sources() if name.startswith("conf/") or PUBLISHED.fullmatch(name)}
    assert carried == wanted - {"hydra_plugins/README.md"}
    weights = {Path(name).name for name in carried if name.startswith("fer_lightning/weights/")}
    assert weights >= {"face_detector.tflite", "fer2013.onnx", "fer2013.safetensors", "ferplus.onnx", "ferplus.json"}
    assert "hydra_plugins/__init__.py" not in carried  # it would hide every other Hydra plugin


def test_the_source_distribution_has_what_the_wheel_is_built_from_and_nothing_else(built: Distributions) -> None:
    with tarfile.open(built.source) as archive:
        carried = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    wanted = {name for name in sources() if name.startswith(("fer_lightning/", "hydra_plugins/", "conf/"))}
    wanted |= {name for name in sources() if PUBLISHED.fullmatch(name) or re.fullmatch(r"lock-.*\.txt", name)}
    wanted |= {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "constraints.txt"}
    assert carried == wanted | {"pyproject.toml", ".gitignore", "PKG-INFO"}


def test_the_package_index_accepts_both(built: Distributions) -> None:
    pytest.importorskip("twine")  # make dist installs it
    done = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_compose_where_the_wheel_is_installed(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import fer_lightning; print(fer_lightning.__file__)", folder=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)
    done = run(installed / "fer", "train", "--cfg", "job", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "_target_: fer_lightning.models.psysfa_net.PsySFANet" in done.stdout


@pytest.mark.slow
def test_the_installed_wheel_predicts_and_trains(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", exc_type=ImportError)
    Image.fromarray(pytest.importorskip("skimage.data").astronaut()).save(tmp_path / "astronaut.png")
    done = run(installed / "fer", "predict", "source=astronaut.png", "hydra.run.dir=out", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    [face] = json.loads((tmp_path / "out" / "predictions.json").read_text())["faces"]
    assert face["label"] == "happy"
    options = ["data.size=140", "trainer=cpu", "trainer.max_epochs=1", "logger=csv", "hydra.run.dir=run"]
    done = run(installed / "fer", "train", *options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["splits"]["test"]["accuracy"] > 0


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that a release changes or reads."""
    (tmp_path / ".ci").mkdir()
    for name in (".ci/prepare_release", "README.md", "CHANGELOG.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_release_has_notes_and_a_page_whose_links_work(clone: Path) -> None:
    address = "https://github.com/someone/fer_lightning"
    subprocess.run([clone / ".ci" / "prepare_release", "v0.1.0", address], check=True)
    page = (clone / "README.md").read_text()
    links = re.findall(r"\]\(([^)\s]*)\)|src=\"([^\"]+)\"", page)
    assert len(links) > 10 and all((link or source).startswith(("https://", "#")) for link, source in links)
    assert f"![Synthetic faces with seven expressions]({address}/raw/v0.1.0/experiments/synthetic/faces.png)" in page
    assert f"[docs/data.md]({address}/blob/v0.1.0/docs/data.md)" in page
    project = pytest.importorskip("tomllib").loads((clone / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Repository"] == address
    notes = (clone / "build" / "notes.md").read_text()
    assert "### Added" in notes and "\n## " not in notes
    assert notes in (ROOT / "CHANGELOG.md").read_text().partition("\n## 0.1.0 - ")[2]


def test_a_release_needs_the_tag_of_its_version_and_notes(clone: Path) -> None:
    def refused(tag: str) -> str:
        command = [clone / ".ci" / "prepare_release", tag, "https://github.com/someone/fer_lightning"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        return done.stderr

    assert refused("v9") == "The tag must be v0.1.0, after the version in pyproject.toml; got v9.\n"
    (clone / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- something\n\n## 0.1.0 - 2026-11-22\n\n")
    assert refused("v0.1.0") == "CHANGELOG.md must have a section '## 0.1.0 - DATE' with what changed; it has none.\n"


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_pin_every_action_and_get_no_more_rights_than_they_need(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    rights = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert rights == ({"publish": {"id-token": "write"}, "announce": {"contents": "write"}} if rights else {})
    actions = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert actions and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in actions)
