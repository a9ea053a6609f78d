"""``mtlbench completion``: completion scripts for bash, zsh and fish, and the completions that they request."""

import os
import re

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from mtlbench.cli.arguments import Command

_BASH = r"""%(complete_func)s() {
    mapfile -t COMPREPLY < <(COMP_LINE=$COMP_LINE COMP_POINT=$COMP_POINT COMP_WORDBREAKS=$COMP_WORDBREAKS \
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    [[ $COMPREPLY ]] || COMPREPLY=()
    [[ ${#COMPREPLY[@]} -eq 1 && $COMPREPLY == *[=/.] ]] && compopt -o nospace
}
complete -F %(complete_func)s %(prog_name)s
"""

_ZSH = r"""#compdef %(prog_name)s
%(complete_func)s() {
    local -a whole begun
    local word
    for word in ${(f)"$(COMP_WORDS=$words[1,CURRENT] COMP_CWORD=$((CURRENT-1)) \
        %(complete_var)s=zsh_complete $words[1] 2>/dev/null)"}; do
        [[ $word == *[=/.] ]] && begun+=($word) || whole+=($word)
    done
    compadd -U -V unsorted -a whole
    compadd -U -V unsorted -S '' -a begun
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = r"""function %(complete_func)s
    %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) %(prog_name)s 2>/dev/null
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


@add_completion_class
class _Bash(BashComplete):
    """Completions for bash, which replaces only the text after the last ``=`` or ``:``, not the whole word."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        word, part, self._quote = _last_word(line, os.environ["COMP_WORDBREAKS"])
        self._kept = len("".join(split_arg_string(line[word:part])))
        return split_arg_string(line[:word])[1:], "".join(split_arg_string(line[word:]))

    def format_completion(self, item: "CompletionItem[str]") -> str:
        text = item.value[self._kept :]
        return text if self._quote else re.sub(r"[^\w/.,:=@%+-]", r"\\\g<0>", text)


@add_completion_class
class _Zsh(ZshComplete):
    source_template = _ZSH

    def format_completion(self, item: "CompletionItem[str]") -> str:
        return item.value


@add_completion_class
class _Fish(FishComplete):
    source_template = _FISH

    def format_completion(self, item: "CompletionItem[str]") -> str:
        return f"{item.value}\t{item.help}" if item.help else item.value


def _last_word(line: str, breaks: str) -> tuple[int, int, str]:
    """Start of a command line's last word, start of the part that bash replaces, and the open quotation mark if any."""
    word = part = 0
    quote, escaped = "", False
    for end, character in enumerate(line, start=1):
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif character == quote:
            quote, part = "", end
        elif quote:
            continue
        elif character in "'\"":
            quote, part = character, end
        elif character in " \t\n":
            word = part = end
        elif character in breaks:
            part = end
    return word, part, quote


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), default="bash")
def command(shell: str) -> None:
    """Print a script for shell completion.

    It completes commands, options, groups, choices, keys, runs, tables, figures and files.

    \b
      eval "$(mtlbench completion bash)"      in ~/.bashrc
      eval "$(mtlbench completion zsh)"       in ~/.zshrc, after compinit
      mtlbench completion fish | source       in ~/.config/fish/config.fish
    """
    from mtlbench.cli import VARIABLE, commands

    shell_class = get_completion_class(shell)
    assert shell_class is not None
    print(shell_class(commands, {}, "mtlbench", VARIABLE).source(), end="")
