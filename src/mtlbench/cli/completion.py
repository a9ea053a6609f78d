"""``mtlbench completion bash``: a script for the shell, and the answers that it asks for at each key press."""

import os
import shlex
import sys

from mtlbench.cli import COMMANDS

SCRIPT = """_mtlbench() {
    local IFS=$'\\n'
    COMPREPLY=( $(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" mtlbench complete 2>/dev/null) )
}
complete -o nospace -o default -F _mtlbench mtlbench
"""

USAGE = """usage: mtlbench completion bash

Prints a script; `eval "$(mtlbench completion bash)"` in ~/.bashrc completes commands, groups, choices and keys.
"""

WITH_KEYS = {"train": "train", "prepare": "train", "show": "train", "simulate": "simulate"}


def run(arguments: list[str]) -> int:
    print(SCRIPT if arguments in ([], ["bash"]) else USAGE, end="")
    return 0


def complete() -> int:
    """Print what can stand at the end of ``COMP_LINE``, one possibility a line."""
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "100000"))]
    words = line.split(" ")[1:]
    if len(words) <= 1:
        print("\n".join(name + " " for name in COMMANDS if name.startswith(words[0] if words else "")))
        return 0
    if words[0] not in WITH_KEYS:
        return 0
    import hydra

    from mtlbench.cli.choices import conf_folder

    os.environ["COMP_LINE"] = shlex.join(["mtlbench"]) + " " + " ".join(words[1:])
    os.environ["COMP_POINT"] = str(len(os.environ["COMP_LINE"]))
    sys.argv = ["mtlbench", "-sc", "query=bash"]
    hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=WITH_KEYS[words[0]])(lambda _: None)()
    return 0
