"""Command line `fer`: dispatch to commands, which are imported only when they run, and shell completion."""

from __future__ import annotations

import difflib
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from typing import TYPE_CHECKING, NoReturn

from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig

_COMMANDS = "fer_lightning.commands"
# Packages that not every installation has: their names, and the extra of pyproject.toml that installs them.
_EXTRAS = {"torch": ("PyTorch", "train"), "pandas": ("pandas", "train"), "mediapipe": ("MediaPipe", "predict")}
FORMER_NAMES = {"ceiling": "label_noise", "bench": "benchmark"}
# Former options of fer bench and their present names.
BENCH_OPTIONS = {
    r"part=search$": "part=samplers",
    r"search\.samplers\b": "samplers.names",
    r"search\b": "samplers",
    r"(rounds|batches|threads)=": r"training.\2=",
}
# Without arrays, so that zsh's bashcompinit runs it too. Bash splits words at `=` and completes only the last part.
_BASH = """\
_fer() {
    local line="${COMP_LINE:0:${COMP_POINT:-${#COMP_LINE}}}"
    local word="${line##*[[:space:]]}" program command rest
    read -r program command rest <<< "$line"
    if [[ -z "$command" ]] || [[ -z "$rest" && "$word" == "$command" ]]; then
        COMPREPLY=($(compgen -W "<commands>" -- "$word"))
        COMPREPLY=("${COMPREPLY[@]/%/ }")
    elif [[ " <composed> " == *" $command "* ]]; then
        program="${program/#\\~/$HOME}"
        COMPREPLY=($(compgen -W "$(COMP_LINE="$line" "$program" "$command" -sc query=bash 2> /dev/null)" -- "$word"))
        if [[ "$word" == *=* && "${COMP_WORDBREAKS:-}" == *=* ]]; then
            COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
        fi
    fi
}
complete -o nospace -o default -F _fer fer
"""
_ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n" + _BASH
_FISH = """\
function __fer_options
    set -lx COMP_LINE (commandline -cp)
    set -l words (commandline -cpo)
    $words[1] $words[2] -sc query=fish 2> /dev/null
end
complete -c fer -f -n __fish_is_first_token -a "<commands>"
complete -c fer -f -n "__fish_seen_subcommand_from <composed>" -a "(__fer_options)"
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@dataclass(frozen=True)
class Command:
    """One command of `fer`, a module of `fer_lightning.commands` that is imported when it runs.

    Attributes:
        help: Description in one line.
        config: Hydra config in `conf/` that it composes; None for commands with plain arguments.
        stopped: Message after Ctrl-C and SIGTERM; that of fer train is `how_to_continue`.
        needs: Package that it cannot run without, a key of `_EXTRAS`.
    """

    help: str
    config: str | None = None
    stopped: str = "stopped."
    needs: str = "torch"


COMMANDS = {
    "train": Command("train a classifier and write a run record", "train"),
    "evaluate": Command("score a checkpoint on any data set", "evaluate"),
    "predict": Command(
        "recognise expressions in photos, a video or a camera stream",
        "predict",
        stopped="stopped; the predictions until then are kept.",
        needs="mediapipe",
    ),
    "explain": Command("explain predictions: Grad-CAM, SHAP, attention maps", "explain"),
    "export": Command("write a network as ONNX, int8 or safetensors, with a model card", "export"),
    "verify": Command("check files of networks: their hashes, and a picture with known probabilities", needs="numpy"),
    "demo": Command("a local web page to try a network with a picture or the camera", "demo"),
    "benchmark": Command(
        "time prediction beside other packages, training beside plain PyTorch; compare samplers", "benchmark"
    ),
    "data": Command("show a data set: protocol, class counts, example images", "show_data"),
    "audit": Command("find duplicates, leaks and bad images in a data set", "audit"),
    "label_noise": Command("measure how far annotators agree with the labels", "label_noise"),
    "align": Command(
        "align the faces of a data set", "align", stopped="stopped; the same command continues where it stopped."
    ),
    "models": Command("show the cost of every network: parameters, multiply-adds, latency", "show_models"),
    "report": Command("tables and figures of a study, beside the published numbers", needs="pandas"),
    "compare": Command("test whether one run is better than another on the same images", needs="pandas"),
    "dashboard": Command("browse logged runs, also offline", needs="pandas"),
    "completion": Command('print the shell completion: eval "$(fer completion bash)"'),
}


def main() -> None:
    """Entry point of the console script and of `python -m fer_lightning`."""
    logging.raiseExceptions = False  # no traceback for a log line that cannot be written to a full disk
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _list_commands()
        return
    if arguments[0] in ("-V", "--version", "version"):
        from fer_lightning import __version__

        print(f"fer_lightning {__version__}")
        return
    name, rest = arguments[0], arguments[1:]
    if name in FORMER_NAMES:
        print(f"fer {name} is called fer {FORMER_NAMES[name]} now.", file=sys.stderr)
        rest = _of_benchmark(rest) if name == "bench" else rest
        name = FORMER_NAMES[name]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean fer {close[0]}?" if close else f"use one of {', '.join(COMMANDS)}."
        _fail(f"unknown command {name!r}: {hint}")
    try:
        with _signals_like_ctrl_c():
            try:
                _run(name, rest)
            except Exception as error:
                _fail_for(error, name, rest)
    except KeyboardInterrupt as stop:
        from fer_lightning.error_messages import how_to_continue

        message = how_to_continue(rest) if name == "train" else COMMANDS[name].stopped
        _fail(message, name, status=128 + (stop.number if isinstance(stop, _Stop) else signal.SIGINT))


def _of_benchmark(arguments: list[str]) -> list[str]:
    """Arguments of `fer benchmark` from those of `fer bench`, which without a part lists the parts."""
    for former, current in BENCH_OPTIONS.items():
        arguments = [re.sub(rf"^([+~]*){former}", rf"\g<1>{current}", argument) for argument in arguments]
    return arguments if any(argument.startswith("part=") for argument in arguments) else [*arguments, "part=list"]


class _Stop(KeyboardInterrupt):
    """Raised for a signal that ends the process, so that it is handled like Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def _signals_like_ctrl_c() -> Iterator[None]:
    """Handles SIGTERM and SIGHUP like Ctrl-C, so that files are closed and results are written."""
    process = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() != process:  # a forked child: default behaviour
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif signal.getsignal(number) is stop:
            # Objects whose construction is interrupted, such as MediaPipe's, print errors when they are deleted.
            sys.unraisablehook = lambda _: None
            raise _Stop(number) if number != signal.SIGINT else KeyboardInterrupt
        # Otherwise Lightning called this after its own handler, which ends training after the batch.

    before = {}
    with suppress(ValueError):  # a thread other than the main one
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            usual = (signal.SIG_DFL, signal.default_int_handler)
            if number is not None and signal.getsignal(number) in usual:  # nohup ignores it
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _list_commands() -> None:
    print("fer: facial expression recognition experiments whose numbers can be trusted\n\nCommands:")
    for name, command in COMMANDS.items():
        print(f"  fer {name:<12}{command.help}")
    print("\nfer <command> --help explains one. A first run: fer train")


def _run(name: str, arguments: list[str]) -> None:
    command = COMMANDS[name]
    if name == "completion":
        print_completion(arguments)
        return
    if find_spec(command.needs) is None:
        package, extra = _EXTRAS[command.needs]
        print(f"fer {name} needs {package}: pip install 'fer_lightning[{extra}]'.", file=sys.stderr)
        sys.exit(2)
    if command.config is None:
        import_module(f"{_COMMANDS}.{name}").main(arguments)
        return
    # Hydra then raises errors instead of printing them with a traceback.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    _strip_command_from_completion(name)
    import hydra

    from fer_lightning.error_messages import check_choices, remove_failed_start
    from fer_lightning.overrides import in_folder_of_resumed_run, prepare
    from fer_lightning.results.metrics_schema import by_current_name

    for place, former in enumerate(arguments):
        if (current := by_current_name(former)) != former:
            print(f"{former} is called {current} now.", file=sys.stderr)
            arguments = [*arguments[:place], current, *arguments[place + 1 :]]
    prepared = in_folder_of_resumed_run(prepare(arguments))
    check_choices(prepared, conf_dir())
    typed = sys.argv
    task = _Task(name, typed, arguments)
    run = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command.config)(task)
    sys.argv = [typed[0], *prepared]
    listing = {"-h", "--help", "-sc", "--shell-completion"} & set(arguments)
    try:
        _print_choices(run) if listing else run()
    except (UserError, OSError, KeyboardInterrupt, SystemExit) as end:
        if not isinstance(end, SystemExit) or end.code:
            remove_failed_start(stopped=isinstance(end, KeyboardInterrupt))
        raise
    finally:
        sys.argv = typed
        if name == "train" and not listing:
            from fer_lightning.commands.report import RunProgress

            RunProgress.end(stopped=isinstance(sys.exc_info()[1], KeyboardInterrupt))


def _print_choices(run: Callable[[], object]) -> None:
    """Prints help or completions without the configs in `shared/`, which are not choices."""
    printed = StringIO()
    try:
        with redirect_stdout(printed):
            run()
    finally:
        text = re.sub(r"^\w+/shared: .*\n", "", printed.getvalue(), flags=re.MULTILINE)
        print(re.sub(r"(?<=[ =])shared/\S*( |$)", "", text), end="")


class _Task:
    """The `run` of a command's module, imported after the config is composed: help and completion need no torch.

    The original command line is restored, because distributed training repeats it in its child processes.
    """

    def __init__(self, name: str, typed: list[str], arguments: list[str]) -> None:
        self.__module__ = f"{_COMMANDS}.{name}"
        self.__name__ = "run"
        self.name = name
        self.typed = typed
        self.arguments = arguments

    def __call__(self, cfg: DictConfig) -> object:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        sys.argv = self.typed
        try:
            if "plugins" in cfg:
                from fer_lightning.training.registry import trust

                trust(cfg.plugins or ())
            self._check(cfg)
            return import_module(self.__module__).run(cfg)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra reports which run failed
            _fail_for(error, self.name, self.arguments)

    def _check(self, cfg: DictConfig) -> None:
        """Checks the options, the fastest checks first."""
        from hydra.core.hydra_config import HydraConfig

        from fer_lightning.commands.option_checks import check_options, require_inputs

        if HydraConfig.get().job.chdir:
            raise UserError(
                "hydra.job.chdir must be false, or relative paths are read in the output folder; got true: omit it."
            )
        if cfg.get("resume") is not None:
            return
        require_inputs(cfg, self.name)
        check_options(cfg, str(COMMANDS[self.name].config))


def print_completion(arguments: Sequence[str]) -> None:
    """Prints the completion script of the shell that the only argument names.

    Raises:
        UserError: The shell is not supported.
    """
    if len(arguments) != 1 or arguments[0] not in _SCRIPTS:
        raise UserError(f'the shell must be one of {", ".join(_SCRIPTS)}, as in eval "$(fer completion bash)".')
    composed = (name for name, command in COMMANDS.items() if command.config)
    script = _SCRIPTS[arguments[0]].replace("<commands>", " ".join(COMMANDS)).replace("<composed>", " ".join(composed))
    print(script, end="")


def _strip_command_from_completion(name: str) -> None:
    """Removes the command from the line to complete, of which Hydra expects the options only."""
    words = os.environ.get("COMP_LINE", "").split(maxsplit=2)
    if words[1:2] == [name]:
        os.environ["COMP_LINE"] = f"fer {''.join(words[2:])}"


def _fail_for(error: Exception, name: str, arguments: list[str]) -> NoReturn:
    """Exits with the message of a user's error; re-raises errors of the program, whose traceback is needed.

    Raises:
        KeyboardInterrupt: The error happened while the command was being stopped: OmegaConf's lists, for one, are
            inconsistent after a signal, and what restores their flags then fails.
    """
    if isinstance(error, UserError):
        _fail(str(error), name)
    behind = error.__context__
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__context__
    if behind is not None:
        raise behind
    from fer_lightning.error_messages import explain

    if (sentence := explain(error, COMMANDS[name].config, arguments)) is None:
        raise error
    _fail(sentence, name)


def _fail(message: str, name: str = "", status: int = 2) -> NoReturn:
    print(f"fer {name}".rstrip() + f": {message}", file=sys.stderr)
    sys.exit(status)
