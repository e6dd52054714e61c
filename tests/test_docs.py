"""The documents: links lead somewhere, and what runs their blocks of shell, Python and YAML can at least read them."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import cv2
import hydra
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from PIL import Image

from fer_lightning import __version__
from fer_lightning.cli import COMMANDS
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.overrides import prepare

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").glob("*/README.md")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
GUIDES = [page for page in PAGES if "experiments" not in page.parts]
NOTEBOOK = ROOT / "docs" / "tour.ipynb"
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
HERE = re.compile(r" <<'E'\n.*?^E$", re.M | re.S)  # a file that a command writes
LINK = re.compile(r"\]\(([^)\s]*)\)|src=\"([^\"]+)\"")
# Programs that the documents start beside fer and make, as they are spelled.
PROGRAMS = {"cd", "chmod", "cp", "echo", "export", "pip", "python", "ray", "scancel", "source", "sudo", "trap", "wait"}
PROGRAMS |= {"cat", "docker", "for", "done", "light/bin/pip", "mlflow", "perl", "pre-commit", "printf"}
PROGRAMS |= {"python3", "ruff", "wandb"}
# Of an extra that not every installation has, or of a folder that a search writes.
NOT_HERE = {"hydra/launcher=ray", "hydra/launcher=ray_cluster", "outputs/sweeps/mine/conf", "my_conf"}
# What the walk-throughs of CONTRIBUTING.md add to the package.
NOT_HERE |= {"loss=focal", "model=small_cnn", "study=small_networks"}


class Command(NamedTuple):
    """A command of a document: its page, for messages, and its words."""

    page: str
    words: list[str]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for _, language, text in FENCE.findall(page.read_text()) if language in languages]


def commands(page: Path) -> Iterator[Command]:
    """Simple commands of the shell blocks, with the variables that the page sets put in."""
    script = HERE.sub("", "\n".join(blocks(page, "bash", "sh"))).replace("\\\n", " ")
    for name, value in re.findall(r'^(\w+)="(.*)"$', script, re.M):
        script = script.replace(f"${name} ", f"{value} ")
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word == "do" or set(word) <= set(";&|"):
                while words and re.match(r"[A-Z_]+=", words[0]):
                    words = words[1:]
                if words:
                    yield Command(name_of(page), words)
                words = []
            elif word != ">":
                words.append(word)


ALL_COMMANDS = [command for page in GUIDES for command in commands(page)]
FER = [Command(page, words[1:]) for page, words in ALL_COMMANDS if words[0].rpartition("/")[2] == "fer"]


@cache
def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.M)
    plain = (re.sub(r"[^\w\s-]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)) for heading in headings)
    return {heading.strip().lower().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in map("".join, LINK.findall(FENCE.sub("", page.read_text()))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation_of_the_site():
    text = (ROOT / "mkdocs.yml").read_text()
    named = set(re.findall(r"[\w/]+\.md", text.partition("\nnav:\n")[2]))
    written = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if ROOT / "docs" in page.parents}
    written |= {page.name for page in ROOT.glob("*.md")} - {"README.md"}
    assert named - {"reference/commands.md", "tour.md"} == written


def test_shell_blocks_are_shell():
    for page in GUIDES:
        for block in blocks(page, "bash", "sh"):
            done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
            assert done.returncode == 0, (name_of(page), block, done.stderr)


def test_programs_targets_and_extras_exist():
    assert len(FER) > 80
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    variables = set(re.findall(r"^([A-Z]+) \??=", makefile, re.M)) | {"UPGRADE"}
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M))
    for page, words in ALL_COMMANDS:
        if words[0] == "make":
            options = [word.partition("=")[0] for word in words[2:]]
            assert words[1] in targets and set(options) <= variables, (page, words)
        else:
            assert words[0] in PROGRAMS or words[0].rpartition("/")[2] == "fer", (page, words)
        for names in re.findall(r"^(?:\.|fer_lightning)\[([\w,]+)\]$", "\n".join(words), re.M):
            assert set(names.split(",")) <= extras, (page, words)


@pytest.fixture
def composer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hydra's API, in a folder with a run that `last` can name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "run").mkdir(parents=True)
    for name in ("config.yaml", "metrics.json"):
        (tmp_path / "outputs" / "run" / name).write_text("{}")
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def first_of(override: str) -> str:
    """The first of the values of a grid or a search, whose config composes without a sweeper."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    if not parsed.is_sweep_override():
        return override
    name = f"{override.partition('=')[0]}="
    values = parsed.value()
    if isinstance(values, Glob):
        choices = sorted(path.stem for path in (conf_dir() / name.removesuffix("=")).glob("*.yaml"))
        return name + values.filter(choices)[0]
    return f"{name}{values.start}" if parsed.is_interval_sweep() else name + next(parsed.sweep_string_iterator())


def test_commands_compose(composer):
    composed: set[tuple[str, ...]] = set()
    for page, (name, *words) in FER:
        assert name in COMMANDS, (page, name)
        if COMMANDS[name].config is None or NOT_HERE & set(words) or "conf" in words:
            continue  # conf: the template's, which tests/test_extend.py runs
        try:
            overrides = [first_of(word) for word in prepare([word for word in words if word not in ("-m", "--help")])]
            if (name, *overrides) not in composed and not {"--cfg", "--info"} & set(words):
                hydra.compose(COMMANDS[name].config, overrides, return_hydra_config=True)
        except (UserError, hydra.errors.HydraException) as error:
            pytest.fail(f"{page}: fer {name} {shlex.join(words)}: {error}")
        composed.add((name, *overrides))
    assert len(composed) > 60


def test_options_of_plain_commands_exist(fer, capsys):
    helps: dict[str, str] = {}
    for page, (name, *words) in FER:
        if COMMANDS[name].config is not None or name == "completion":
            continue
        if name not in helps:
            assert fer(name, "--help") == 0
            helps[name] = capsys.readouterr().out
        for word in words:
            if word.startswith("-") and word != "--config-dir":
                assert f"{word} " in helps[name] or f"{word}\n" in helps[name] or f"{word}]" in helps[name], (
                    page,
                    word,
                )


def test_python_blocks_compile_and_import_what_exists():
    read = 0
    for page in GUIDES:
        for block in blocks(page, "python"):
            for node in ast.walk(compile(block, name_of(page), "exec", ast.PyCF_ONLY_AST)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fer_lightning"):
                    module = import_module(str(node.module))
                    assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
                    read += 1
    assert read > 3


def test_yaml_blocks_are_yaml():
    assert all(yaml.safe_load(block) for page in GUIDES for block in blocks(page, "yaml"))


def test_the_workflow_runs_every_supported_python():
    """From the lowest that pyproject.toml asks for, on Linux and macOS."""
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    (lowest,) = re.findall(r'^requires-python = ">=(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert matrix["python"][0] == lowest and all(isinstance(version, str) for version in matrix["python"])
    assert [name.partition("-")[0] for name in matrix["os"]] == ["ubuntu", "macos"]
    assert job["steps"][-1] == {"run": ".ci/run"}


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert f"\n## {__version__} - " in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_first_five_minutes_run_as_written(fer, tmp_path, monkeypatch, capsys):
    """The commands of docs/index.md, without the installation."""
    pytest.importorskip("mediapipe", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pytest.importorskip("skimage.data").astronaut()).save("astronaut.png")
    started = [words[1:] for _, words in commands(ROOT / "docs" / "index.md") if words[0] == "fer"]
    assert [words[0] for words in started] == ["predict", "train", "train", "compare"]
    for words in started:
        assert fer(*words, *(["logger=none"] if words[0] == "train" else [])) == 0, (words, capsys.readouterr().err)
    printed = capsys.readouterr().out
    assert "happy" in printed and "Run record: outputs/psysfa_net_synthetic" in printed
    assert len(list(Path("outputs/first").glob("*/metrics.json"))) == 2


@pytest.mark.slow
def test_the_python_of_the_predictor_runs_as_written(tmp_path, monkeypatch):
    """The block of docs/deploy.md, on a photo, a folder and a video of one face."""
    pytest.importorskip("mediapipe", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    photo = pytest.importorskip("skimage.data").astronaut()[:256, 64:320]
    for name in ("photo.jpg", "a.jpg", "holidays/b.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(photo).save(name)
    video = cv2.VideoWriter("talk.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 10, photo.shape[1::-1])
    for _ in range(3):
        video.write(photo[:, :, ::-1])
    video.release()
    block, _ = blocks(ROOT / "docs" / "deploy.md", "python")
    names = {"frame": photo, "crops": [photo[40:160, 80:200]]}
    exec(compile(block, "docs/deploy.md", "exec"), names)
    assert [face.label for face in names["faces"]] == ["happy"]
    assert len(names["rows"]) == 2 and len(names["features"]) == 1 and len(names["table"]) == 3


def outputs_of(notebook: dict) -> list[dict]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def test_the_notebook_is_executed_and_knows_no_machine():
    text = NOTEBOOK.read_text()
    notebook = json.loads(text)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    run = [cell for cell in code if "skip-execution" not in cell["metadata"].get("tags", ())]
    assert [cell["execution_count"] for cell in run] == list(range(1, len(run) + 1))
    assert {output["output_type"] for output in outputs_of(notebook)} == {"stream", "execute_result", "display_data"}
    assert not re.findall(r"(?:/root|/home|/Users|/tmp|/work|site-packages)\b[^\"]*|Traceback.*", text)
    assert len(text) < 200_000
    links = [link for cell in notebook["cells"] for link in re.findall(r"\]\((\S+)\)", "".join(cell["source"]))]
    assert links and all((NOTEBOOK.parent / link).is_file() for link in links)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    options = {"timeout": 900, "skip_cells_with_tag": "skip-execution"}
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, **options).execute()
    printed = "".join(output.get("text", "") for output in outputs_of(notebook))
    for words in ("Run record: outputs/first", "psysfa_no_fusion", "Search search: 4 trials, 4 complete"):
        assert words in printed, words


@pytest.mark.slow
def test_the_walk_throughs_of_contributing_run_as_written(tmp_path):
    """In a copy of the repository, one after the other: a loss, a network, a data set and a study."""
    parts = ("fer_lightning", "conf", "hydra_plugins", "tests", "docs", "experiments")
    for part in parts:
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    script = "\n".join(blocks(ROOT / "CONTRIBUTING.md", "bash")[1:])  # without make setup
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(folders), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(["bash", "-ex"], input=script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in ("ResNet", "Two convolutions"):
        assert name in done.stdout


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_other_hosts(tmp_path):
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PsySFANet" in (tmp_path / "site" / "api" / "models.html").read_text()
    assert "<math" in (tmp_path / "site" / "papers.html").read_text()
    assert "fer evaluate" in (tmp_path / "site" / "reference" / "commands.html").read_text()
