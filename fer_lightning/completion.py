"""`fer completion`: prints the script that teaches a shell to complete `fer`."""

from __future__ import annotations

from collections.abc import Sequence

from fer_lightning.cli import COMMANDS
from fer_lightning.errors import UserError

# Without arrays, so that zsh's bashcompinit runs it too. Bash breaks words at `=` and completes only what follows it.
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


def main(arguments: Sequence[str]) -> None:
    """Prints the script of one shell.

    Args:
        arguments: The name of the shell.

    Raises:
        UserError: That is no shell known here.
    """
    if len(arguments) != 1 or arguments[0] not in _SCRIPTS:
        raise UserError(f'name your shell, one of {", ".join(_SCRIPTS)}: eval "$(fer completion bash)".')
    composed = (name for name, command in COMMANDS.items() if command.config)
    script = _SCRIPTS[arguments[0]].replace("<commands>", " ".join(COMMANDS)).replace("<composed>", " ".join(composed))
    print(script, end="")
