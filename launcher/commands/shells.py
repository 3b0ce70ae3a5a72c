"""The scripts of the shells that need more than click's: bash breaks words at '=' and ':', and a value follows '='."""

from __future__ import annotations

import os

from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class, split_arg_string

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' answer
    COMPREPLY=()
    for answer in $(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
            %(complete_var)s=bash_complete "$1"); do
        case $answer in
            dir,*) compopt -o dirnames ;;
            file,*) compopt -o default ;;
            plain,*) COMPREPLY+=("${answer#*,}") ;;
        esac
    done
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_ZSH_ADDS = "compadd -U -V unsorted -a completions"
_ZSH_ADDS_BOTH = """\
compadd -U -V unsorted -- ${completions:#*=}
        compadd -U -V unsorted -S '' -- ${(M)completions:#*=}"""


class Bash(BashComplete):
    """Completes the line as it was typed; an answer is what follows the last break in its word."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the last, and the last."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        self._word = words.pop() if words and not line[-1:].isspace() else ""
        return words, self._word

    def format_completion(self, item: CompletionItem) -> str:
        """Return the kind, and the part of the value that bash takes for the current word."""
        breaks = [mark for mark in "=:" if mark in os.environ["COMP_WORDBREAKS"]]
        start = max((self._word.rfind(mark) for mark in breaks), default=-1) + 1
        return f"{item.type},{item.value[start:]}"


class Zsh(ZshComplete):
    """Adds no blank after a word that ends with '='."""

    source_template = ZshComplete.source_template.replace(_ZSH_ADDS, _ZSH_ADDS_BOTH)


add_completion_class(Bash)
add_completion_class(Zsh)
