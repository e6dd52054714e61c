"""Hooks of `make docs`: what the site shows beside the pages in docs/, generated while it is built.

- `api/`: a page for each room of the package, from its docstrings
- `reference/`: commands and options, from `conf/` and the parsers of the commands
- `tour.md`: the executed notebook
- `experiments/`, `CHANGELOG.md`, `CONTRIBUTING.md`, `SECURITY.md`: as they are in the repository

A link in docs/ is that of the repository, `../experiments/...`, so that it works there as well; here it is turned into
that of the site. Whatever a link leads to must exist, and no page may load anything from another host.
"""

from __future__ import annotations

import ast
import base64
import html
import json
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fer_lightning.cli import COMMANDS  # noqa: E402

AT_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "LICENSE")
ROOMS = sorted(path.parent.name for path in (ROOT / "fer_lightning").glob("*/__init__.pyi"))
GROUPS = {
    "data": "Data sets",
    "model": "Networks",
    "loss": "Losses",
    "procedure": "Training procedures",
    "augment": "Augmentations",
    "optimizer": "Optimizers",
    "scheduler": "Learning rate schedules",
    "trainer": "Trainers",
    "logger": "Loggers",
    "callbacks": "Callbacks",
    "experiment": "Recipes",
    "ablation": "Ablations",
    "baseline": "Baselines of a comparison",
    "study": "Studies",
    "hydra/sweeper": "Searches",
    "hydra/sweeper/sampler": "Samplers of a search",
    "hydra/sweeper/pruner": "Pruners of a search",
    "hydra/launcher": "Launchers",
}
# A fenced block, or a link or picture outside of one; and a class or function with a link to its source.
LINK = re.compile(
    r"(?P<fence>^(?P<mark>```+).*?^(?P=mark)$)|(?P<open>\]\(|src=\")(?P<path>[^)\"#\s:]+)(?=[)\"#])", re.M | re.S
)
SOURCE = re.compile(r"\[`(\w+)`\]\((?:\.\./)+(fer_lightning/[\w/]+)\.py\)")
MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\ssrc=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b[^>]*?rel=["']?stylesheet[^>]*?href=["']?(?:https?:)?//[^"'\s>]+"""
)


class SingularExample(griffe.Extension):
    """Griffe knows the heading `Examples:` of Google's style; the package writes `Example:`, as PyTorch does."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.M)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the generated pages to the navigation."""
    for section in config.nav or []:
        if "Reference" in section:
            section["Reference"] += [{"Options": [f"reference/{page_of(group)}" for group in GROUPS]}]
            section["Reference"] += [{"API": ["api/index.md", *(f"api/{room}.md" for room in ROOMS)]}]
        if "Results" in section:
            records = sorted((ROOT / "experiments").glob("*/README.md"))
            section["Results"] += [{"Records": [path.relative_to(ROOT).as_posix() for path in records]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages and the files of the repository that pages lead to."""
    pages = {"reference/commands.md": commands_page(), "api/index.md": api_index()}
    pages |= {f"reference/{page_of(group)}": group_page(group, title) for group, title in GROUPS.items()}
    pages |= {f"api/{room}.md": api_page(room) for room in ROOMS}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    add_notebook(files, config, ROOT / "docs" / "tour.ipynb")
    for path in [*filter(Path.is_file, map(ROOT.joinpath, AT_ROOT)), *(ROOT / "experiments").rglob("*")]:
        place = path.relative_to(ROOT).as_posix()
        if path.is_file():
            files.append(File(place, str(ROOT), config.site_dir, config.use_directory_urls))
        elif not {"README.md", "index.html"} & {child.name for child in path.iterdir()}:
            files.append(File.generated(config, f"{place}/README.md", content=folder_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Turns the repository's links into the site's."""
    source = posixpath.dirname(page.file.src_uri)
    at_root = page.file.src_uri.startswith("experiments/") or page.file.src_uri in AT_ROOT
    folder = source if at_root else posixpath.join("docs", source)

    def relinked(match: re.Match[str]) -> str:
        if match["fence"]:
            return match[0]
        target = posixpath.normpath(posixpath.join(folder, match["path"]))
        place = "tour.md" if target == "docs/tour.ipynb" else target.removeprefix("docs/")
        group, room = target.removeprefix("conf/"), target.removeprefix("fer_lightning/")
        generated = f"reference/{page_of(group)}" if group in GROUPS else f"api/{room}.md" if room in ROOMS else place
        for candidate in (generated, f"{place}/README.md", f"{place}/index.html"):
            if files.get_file_from_path(candidate):
                return match["open"] + posixpath.relpath(candidate, source or ".")
        return match[0]  # mkdocs warns of it, which a strict build does not pass

    described = SOURCE.sub(lambda match: f"[`{match[1]}`][{match[2].replace('/', '.')}.{match[1]}]", markdown)
    return LINK.sub(relinked, described)


def on_page_content(content: str, **_: Any) -> str:
    """Renders formulas as MathML, which browsers show without a script."""

    def rendered(match: re.Match[str]) -> str:
        formula = re.sub(r"\\tag\{(.+?)\}", r"\\qquad (\1)", html.unescape(match[2]))
        inline = match[1] == "span"
        return convert(formula) if inline else f"<p>{convert(formula, display='block')}</p>"

    return MATH.sub(rendered, content)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    if match := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another host: {match[0]}")
    return output


def page_of(group: str) -> str:
    return f"{group.replace('/', '_')}.md"


def fenced(text: str, language: str = "") -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def without_hydra(text: str) -> tuple[str, str]:
    """Text of a config without the block `hydra:`, and that block."""
    head, mark, rest = text.partition("\nhydra:\n")
    return head, mark and rest


def commands_page() -> str:
    """Reference of all commands: what each does, its options and defaults with their comments, and examples."""
    parts = [
        "# Commands\n\nGenerated from `conf/` and the commands themselves. `fer COMMAND --help` prints the same.\n"
    ]
    parts += ["| command | |\n|---|---|"]
    parts += [f"| [`fer {name}`](#fer-{name}) | {command.help} |" for name, command in COMMANDS.items()]
    for name, command in COMMANDS.items():
        parts.append(f"\n## fer {name}\n")
        if command.config is None:
            parts.append(fenced(printed_help(name)) if name != "completion" else f"{command.help}\n")
            continue
        text = (ROOT / "conf" / f"{command.config}.yaml").read_text(encoding="utf-8")
        options, hydra = without_hydra(text)
        parts.append(f"{help_block(hydra, 'header')}\n")
        parts += ["Options and their defaults:\n", fenced(options.partition("\n")[2], "yaml")]
        parts.append(fenced(help_block(hydra, "template").split("$APP_CONFIG_GROUPS")[-1].strip()))
    return "\n".join(parts)


def help_block(hydra: str, key: str) -> str:
    """Text of `hydra.help.KEY` in a config, without its references and those parts that Hydra fills in."""
    match = re.search(rf"^    {key}: \|\n((?:      .*\n|\n)+)", hydra + "\n", re.M)
    text = re.sub(r"^      ", "", match[1], flags=re.M) if match else ""
    return re.sub(r"\$\{hydra:help\.header\}\n|== Options ==\n|\$CONFIG\n?", "", text).replace("$$", "$").strip()


def printed_help(name: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "fer_lightning", name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        raise PluginError(f"fer {name} --help: {done.stderr.strip()}")
    return done.stdout


def group_page(group: str, title: str) -> str:
    """Reference of a config group: each choice with its comment and its options."""
    parts = [f"# {title}: `{group}=`\n\nGenerated from `conf/{group}/`.\n"]
    for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
        text = path.read_text(encoding="utf-8").replace("# @package _global_\n", "")
        comment = re.match(r"(?:#.*\n)*", text)[0]  # type: ignore[index]  # matches the empty text
        words = "\n".join(line.removeprefix("#").removeprefix(" ") for line in comment.splitlines())
        words = re.sub(r"^  +\S.*$", lambda line: f"\n{fenced(line[0].strip())}", words, flags=re.M)
        parts += [f"## {path.stem}\n", f"{html.escape(words, quote=False)}\n"]
        if options := text[len(comment) :].strip():
            parts.append(fenced(options, "yaml"))
    return "\n".join(parts)


def exported(room: str) -> dict[str, str]:
    """Names that a room offers, or the package for an empty name, and the modules that define them."""
    text = (ROOT / "fer_lightning" / room / "__init__.pyi").read_text(encoding="utf-8")
    parent = f"fer_lightning.{room}".rstrip(".")
    return {name: f"{parent}.{module}" for module, name in re.findall(r"^from \.(\S+) import (\w+) as", text, re.M)}


def catalogue(room: str) -> str:
    """Docstring of a room, in which what is listed leads to its description."""
    tree = ast.parse((ROOT / "fer_lightning" / room / "__init__.py").read_text(encoding="utf-8"))
    names = exported(room)
    lines = (ast.get_docstring(tree) or "").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("- `"):
            head, colon, words = line.partition(": ")
            linked = re.sub(r"`(\w+)`", lambda match: f"[`{match[1]}`][{names[match[1]]}.{match[1]}]", head)
            lines[number] = linked + colon + words
    return "\n".join(lines)


def api_index() -> str:
    in_rooms = {name for room in ROOMS for name in exported(room)}
    members = [f"::: {module}.{name}\n" for name, module in exported("").items() if name not in in_rooms]
    rooms = [f"- [fer_lightning.{room}]({room}.md)" for room in ROOMS]
    return "\n".join(["# The package\n", catalogue(""), "\n## Rooms\n", *rooms, "", *members])


def api_page(room: str) -> str:
    members = [f"::: {module}.{name}\n" for name, module in exported(room).items()]
    return "\n".join([f"# fer_lightning.{room}\n", catalogue(room), "", *members])


def folder_page(folder: Path) -> str:
    """Files of a record without a text of its own, its pictures shown."""
    parts = [f"# {folder.name}\n"]
    for path in sorted(folder.iterdir()):
        parts.append(f"- [{path.name}]({path.name})\n")
        if path.suffix in (".png", ".jpg"):
            parts.append(f"  ![{path.stem}]({path.name})\n")
    return "\n".join(parts)


def add_notebook(files: Files, config: MkDocsConfig, path: Path) -> None:
    """The notebook as a page, with the outputs that are stored in it."""
    parts = []
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        language = "bash" if source.startswith("%%bash") else "python"
        parts.append(source if cell["cell_type"] == "markdown" else fenced(source.removeprefix("%%bash\n"), language))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"tour_{number}.png"
                files.append(File.generated(config, picture, content=base64.b64decode(data["image/png"])))
                parts.append(f"![Output]({picture})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))):
                parts.append(fenced(text))
    files.append(File.generated(config, path.with_suffix(".md").name, content="\n\n".join(parts)))
