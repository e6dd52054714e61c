from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import fer_lightning
from fer_lightning.cli import COMMANDS
from fer_lightning.files import conf_dir

SCRIPT = Path(sys.executable).with_name("fer")


def python(code: str) -> list[str]:
    """Runs code in a fresh interpreter and returns its lines of output."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def fresh_fer(*arguments: str) -> tuple[list[str], set[str]]:
    """Output of `fer`, and which heavy packages it imported."""
    heavy = ("torch", "pytorch_lightning", "timm", "albumentations", "hydra", "wandb", "matplotlib", "pandas")
    lines = python(
        f"import sys; sys.argv = ['fer', *{arguments!r}]\n"
        "from fer_lightning.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        f"print('imported', *[name for name in {heavy!r} if name in sys.modules])"
    )
    return lines[:-1], set(lines[-1].split()[1:])


# Listing and help


def test_lists_its_commands_at_once():
    lines, imported = fresh_fer()
    assert not imported
    for name, command in COMMANDS.items():
        assert any(name in line and command.help in line for line in lines)


def test_lists_its_commands_in_under_a_third_of_a_second():
    """In processor time, which a busy machine does not change much; the best of three."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([SCRIPT], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.3


def test_module_and_script_say_the_same(fer_process):
    script = subprocess.run([SCRIPT], check=True, capture_output=True, text=True).stdout
    assert fer_process().stdout == script == fer_process("--help").stdout


def test_help_of_train_shows_groups_and_examples_without_torch():
    lines, imported = fresh_fer("train", "--help")
    text = "\n".join(lines)
    assert "torch" not in imported
    for group in ("data", "model", "loss", "optimizer", "scheduler", "trainer", "logger", "callbacks", "augment"):
        assert f"\n{group}: " in text
    for choice in ("fer2013", "psysfa_net", "ddp_cpu", "warmup_cosine"):
        assert choice in text
    assert "fer train data=fer2013" in text and "resume=" in text and "-m seed=0,1" in text


def test_help_of_a_command_is_the_text_of_its_config(fer, capsys):
    assert fer("label_noise", "--help") == 0
    assert OmegaConf.load(conf_dir() / "label_noise.yaml").hydra.help.header in capsys.readouterr().out


def test_every_help_has_examples_that_name_the_command():
    for name, command in COMMANDS.items():
        if command.config:
            examples = (conf_dir() / f"{command.config}.yaml").read_text().partition("== Examples ==\n")[2]
            assert examples.strip().startswith(f"fer {name}"), name


def test_configs_are_found_beside_a_checkout():
    assert (conf_dir() / "train.yaml").is_file()


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["trian"], "unknown command 'trian': did you mean fer train?"),
        (["nonsense"], "unknown command 'nonsense': use one of train, evaluate"),
        (["train", "dataset=fer2013"], "Unknown option 'dataset': did you mean data?"),
        (
            ["train", "data=fer2012"],
            "Unknown choice data=fer2012: did you mean fer2013? Otherwise choose one of affectnet,",
        ),
        (["train", "study=shared/grid"], "Unknown choice study=shared/grid: choose one of cross_dataset"),
        (["train", "model.widht=3"], "Unknown option 'model.widht': did you mean model.widths?"),
        (["train", "optimiser.lr=1"], "Unknown option 'optimiser.lr': did you mean optimizer.lr?"),
        (["train", "+newgroup.x=1"], "Unknown option 'newgroup': nothing reads it"),
        (["train", "trainer.max_steps=5"], "use +trainer.max_steps=... to add it"),
        (["train", "seed=1,2"], "seed=1,2 has several values: use seed=[1,2] for a list, or add -m"),
        (["train", "photo.jpg"], "'photo.jpg' is not an option: use name=value"),
        (["train", "logger.wandb.name=it's"], """quote it for Hydra too: 'logger.wandb.name="it'"'"'s"'"""),
        (["train", "resume="], "resume must be a path; got an empty value (is the variable set?)"),
        (["train", "trainer.max_epochs"], "trainer.max_epochs"),
        (["train", "+experiment=gone"], "experiment"),
        (["train", "study=psysfa_table6", "budget=huge"], "budget=huge is unknown: use smoke, pilot or paper."),
        (["report", "/nowhere"], "/nowhere must be a folder"),
        (["train", "resume=/nowhere"], "resume=/nowhere must be the folder of a run"),
        (["evaluate", "data.rot=x"], "data.rot"),
        (["completion", "tcsh"], "bash, zsh, fish"),
        (["completion"], "bash, zsh, fish"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_without_a_traceback(arguments, told, fer, tmp_path, monkeypatch, capsys, recwarn):
    monkeypatch.chdir(tmp_path)
    assert fer(*arguments) == 2
    error = capsys.readouterr().err
    assert told in error and "To append" not in error
    assert "Traceback" not in error and "HYDRA_FULL_ERROR" not in error
    assert not [warning for warning in recwarn if "Callback" in str(warning.message)]


@pytest.mark.parametrize(
    ("former", "current"),
    [
        ("rival=vit", "baseline=vit"),
        ("study=hafem_rivals", "study=hafem_baselines"),
        ("hydra/sweeper=mboa", "hydra/sweeper=optuna"),
    ],
)
def test_options_of_earlier_versions_work_and_say_their_new_name(former, current, fer, capsys):
    assert fer("train", former, "--cfg", "hydra", "--package", "hydra.runtime.choices") == 0
    printed = capsys.readouterr()
    assert f"{current.replace('=', ': ')}\n" in printed.out
    assert printed.err == f"{former} is called {current} now.\n"


def test_an_unknown_value_lists_the_known_ones(fer, capsys):
    assert fer("train", "model=resnest") == 2
    error = capsys.readouterr().err
    assert "psysfa_net" in error and "resnet" in error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_log_that_finds_no_room_is_no_traceback(fer, tiny_folder, tmp_path, capsys):
    data = ["data=folder", f"data.root={tiny_folder}", "data.image_size=32", f"hydra.run.dir={tmp_path}"]
    assert fer("data", *data, "hydra.job_logging.handlers.file.filename=/dev/full") == 0
    assert "Logging error" not in capsys.readouterr().err


# Completion

BASH = subprocess.run(["bash", "--version"], capture_output=True).returncode == 0 if os.name == "posix" else False


@pytest.mark.skipif(not BASH, reason="needs bash")
def test_bash_completes(tmp_path):
    """What readline does: set the line and its words, call the function, read COMPREPLY."""
    lines = {
        "fer tr": ["train "],
        "fer completion ": [],
        "fer nonsense a": [],
        "fer train data=fe": ["fer2013", "ferplus"],
        "fer train -m model=resnet optimizer=ad": ["adam", "adamw"],
        "fer train model=resnet model.wi": ["model.widths."],
        "fer evaluate spl": ["split="],
    }
    script = [
        'eval "$(fer completion bash)"',
        "complete -p fer",
        "try() {",
        "  COMP_LINE=$1; COMP_POINT=${#1}; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()",
        "  _fer; printf '%s|' \"${COMPREPLY[@]}\"; echo; }",
        *[f'try "{line}"' for line in lines],
        "COMP_WORDBREAKS=' '",
        'try "fer train data=fe"',
    ]
    (tmp_path / "try.sh").write_text("\n".join(script))
    environment = {**os.environ, "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", tmp_path / "try.sh"], capture_output=True, text=True, timeout=300, env=environment)
    registered, *answers = done.stdout.splitlines()
    assert registered.endswith("-F _fer fer"), done.stderr
    found = [[word for word in answer.split("|") if word] for answer in answers]
    assert dict(zip(lines, found)) == lines
    assert found[-1] == ["data=fer2013", "data=ferplus"]  # bash replaces the whole word where `=` does not break it


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script(shell, fer, capsys):
    assert fer("completion", shell) == 0
    script = capsys.readouterr().out
    assert "-sc query=" in script and " ".join(COMMANDS) in script and "<" not in script.replace("<<<", "")


def test_completion_needs_no_torch(tmp_path):
    code = f"import os; os.environ['COMP_LINE'] = 'fer train data=fe'; os.chdir({str(tmp_path)!r})\n"
    lines = python(
        code + "import sys; sys.argv = ['fer', 'train', '-sc', 'query=bash']\n"
        "from fer_lightning.cli import main\n"
        "main(); print('torch' in sys.modules)"
    )
    assert lines == ["data=fer2013 data=ferplus", "False"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_the_version(word, fer, capsys):
    assert fer(word) == 0
    assert capsys.readouterr().out == f"fer_lightning {fer_lightning.__version__}\n"


# Signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_what_a_signal_cuts_off_does_not_complain(name):
    """As an image of MediaPipe does that is deleted before it was made."""
    program = (
        "import os, signal, fer_lightning.cli as cli\n"
        # What runs in the background ignores Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class HalfMade:\n"
        f"    def __init__(self): os.kill(os.getpid(), signal.{name}); self.made = True\n"
        "    def __del__(self): self.made\n"
        "cli._run = lambda *_: HalfMade()\n"
        "import sys; sys.argv = ['fer', 'predict']; cli.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 128 + getattr(signal, name)
    assert ended.stderr == "fer predict: stopped; the predictions until then are kept.\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_that_end_a_process_end_a_command_like_ctrl_c(name, fer, monkeypatch, capsys):
    """In this process: `fer completion` sends itself the signal, closes what is open, and says so."""
    number, closed = getattr(signal, name), []

    def main(arguments):
        try:
            signal.raise_signal(number)
        finally:
            closed.append(True)

    before = signal.signal(number, signal.SIG_DFL)  # tests that run in the background ignore some
    monkeypatch.setattr("fer_lightning.cli.print_completion", main)
    try:
        assert fer("completion") == 128 + number
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert closed == [True] and capsys.readouterr().err == "fer completion: stopped.\n"


def test_a_signal_while_a_config_is_composed_is_a_stop(fer, monkeypatch, capsys):
    """In the middle of a list: OmegaConf then fails to restore its flags, with an error of its own."""

    class Interrupting(str):
        def __contains__(self, text):
            raise KeyboardInterrupt

    monkeypatch.setattr("fer_lightning.cli.print_completion", lambda _: OmegaConf.create([Interrupting()]))
    assert fer("completion") == 130
    assert capsys.readouterr().err == "fer completion: stopped.\n"


def test_a_signal_in_a_forked_child_ends_the_child():
    code = (
        "import os, signal, time\n"
        "from fer_lightning import cli\n"
        "with cli._signals_like_ctrl_c():\n"
        "    child = os.fork()\n"
        "    if not child: time.sleep(60)\n"
        "    time.sleep(0.2)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    print(os.WTERMSIG(os.waitpid(child, 0)[1]))\n"
    )
    assert python(code) == ["15"]
