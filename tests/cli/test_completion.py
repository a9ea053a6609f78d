"""Completion: pressed Tab in a shell on a pseudo-terminal, and what may stand behind the words of a command."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from mtlbench.cli import COMMANDS, VARIABLE
from mtlbench.cli.choices import GROUPS, INSTRUCTION, default_values
from mtlbench.cli.compose import compose

SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        """bind -x '"\\C-x": printf "<<%s>>\\n" "$READLINE_LINE"'; eval "$(mtlbench completion bash)" """,
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        """autoload -U compinit; compinit -u -D; show() { print -r -- "<<$BUFFER>>" }; zle -N show; """
        """bindkey '^X' show; bindkey '^U' kill-whole-line; eval "$(mtlbench completion zsh)" """,
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        """bind \\cx 'echo "<<"(commandline)">>"'; bind \\cu 'commandline ""'; mtlbench completion fish | source""",
    ),
}
"""How a shell is started, and what is typed first: Ctrl-X then prints the line as it stands, Ctrl-U empties it."""


class Terminal:
    """A shell in a folder, at whose keyboard one types."""

    def __init__(self, shell: str, folder: Path, path: str) -> None:
        words, setup = SHELLS[shell]
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            os.execvpe(words[0], words, os.environ | {"PATH": path, "TERM": "dumb", "PS1": "$ "})
        self._type(f"{setup}; echo rea''dy\n", r"ready\r?\n")

    def press_tab(self, line: str) -> str:
        """The line after Tab was pressed at its end."""
        return self._type(f"{line}\t\x18", r"<<(.*?)>>\r?\n", "\x15")

    def close(self) -> None:
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._terminal)

    def _type(self, text: str, expected: str, afterwards: str = "") -> str:
        os.write(self._terminal, text.encode())
        shown, end = "", time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([self._terminal], [], [], 1)[0]:
                shown += os.read(self._terminal, 65536).decode(errors="replace")
            if found := re.search(expected, shown, re.DOTALL):
                os.write(self._terminal, afterwards.encode())
                return found[found.re.groups]
        raise AssertionError(f"waited for {expected}, saw {shown!r}")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, raw files under a name that a shell must quote, and the command ``mtlbench``."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("runs/3f2a/run.json", "elsewhere/9b1c/run.json", "raw one/epoch=3/rows.csv", "bin/mtlbench"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    (folder / "bin" / "mtlbench").write_text(f'#!/bin/sh\nexec {sys.executable} -m mtlbench "$@"\n')
    (folder / "bin" / "mtlbench").chmod(0o755)
    return folder


@pytest.fixture(scope="module", params=list(SHELLS))
def terminal(request: pytest.FixtureRequest, workplace: Path) -> Iterator[Terminal]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    opened = Terminal(request.param, workplace, f"{workplace}/bin:{os.environ['PATH']}")
    yield opened
    opened.close()


LINES = {
    "tr": "train ",
    "train model=mm": "train model=mmoe ",
    "train -m model=mmoe,shared": "train -m model=mmoe,shared_bottom ",
    "train seed=1 trainer.epo": "train seed=1 trainer.epochs=",
    "train model=mssm model.mask_b": "train model=mssm model.mask_bias=",
    "train mod": "train model",  # a group with `=`, a key of it with `.`
    "train run.fresh=t": "train run.fresh=true ",
    "train --multi": "train --multirun ",
    "train dataset.raw=raw": r"train dataset.raw=raw\ one/",
    r"train dataset.raw=raw\ one/epo": r"train dataset.raw=raw\ one/epoch=3/",
    r"train dataset.raw=raw\ one/epoch=3/": r"train dataset.raw=raw\ one/epoch=3/rows.csv ",
    "simulate dataset=cens": "simulate dataset=census ",
    "evaluate 3": "evaluate 3f2a ",
    "evaluate 3f2a --split va": "evaluate 3f2a --split valid ",
    "evaluate 3f2a run.d": "evaluate 3f2a run.device=",
    "show dataset=cens": "show dataset=census ",
    "show 3": "show 3f2a ",
    "list fig": "list figures ",
    "list nothing": "list nothing",
    "reproduce census_p": "reproduce census_ple ",
    "reproduce mssm_f": "reproduce mssm_fig3 ",
    "completion z": "completion zsh ",
}


def test_tab_completes(terminal: Terminal):
    found = {line: terminal.press_tab(f"mtlbench {line}") for line in LINES}
    assert found == {line: f"mtlbench {whole}" for line, whole in LINES.items()}


def answers(line: str, folder: Path) -> tuple[list[str], list[str]]:
    """What can stand at the end of a line, as bash is told, and the slow packages that were imported for it."""
    heavy = "{'torch', 'hydra', 'mlflow', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)"
    code = f"import atexit, sys; atexit.register(lambda: print('imported', *{heavy})); "
    done = subprocess.run(
        [sys.executable, "-c", code + "from mtlbench.cli import main; main([])"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ
        | {VARIABLE: "bash_complete", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_WORDBREAKS": " \t\n\"'=:"},
    )
    *words, imported = done.stdout.splitlines()
    return [word for word in words if word], imported.split()[1:]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mtlbench ", list(COMMANDS)),
        ("mtlbench train trainer.e", ["trainer.epochs=", "trainer.evaluate_every=", "trainer.evaluation_batch_size="]),
        ("mtlbench train tr", ["tracker=", "trainer.", "trainer="]),
        ("mtlbench train run.t", ["run.tags=", "run.threads=", "run.tracker."]),
        ("mtlbench train 'dataset.raw=raw one/epoch=", ["dataset.raw=raw one/epoch=3/"]),
        ('mtlbench train dataset.raw="raw one/epoch=', ["raw one/epoch=3/"]),
        ("mtlbench evaluate run.folder=elsewhere 9", []),  # a run's name comes first
        ("mtlbench show 9", []),
        ("mtlbench doctor bogus", []),
    ],
)
def test_what_can_follow_is_found_without_slow_packages(workplace: Path, line: str, expected: list[str]):
    assert answers(line, workplace) == (expected, [])


@pytest.mark.parametrize(
    ("config", "chosen"),
    [
        ("train", {}),
        ("train", {"model": "dephn", "dataset": "criteo_r", "profile": "mpa", "optimizer": "adam_sgd_gates"}),
        ("train", {"model": "mpa_combined", "dataset": "parquet", "tracker": "none", "trainer": "gpu"}),
        ("train", {"model": "dcn", "dataset": "kuairand", "balancing": "gradnorm", "loss": "balanced"}),
        ("simulate", {"dataset": "wechat"}),
    ],
)
def test_the_keys_that_are_completed_are_those_that_can_be_set(config: str, chosen: dict[str, str]):
    def flat(node: DictConfig, prefix: str = "") -> Iterator[str]:
        for key in node:
            inner: Any = node._get_node(key)
            if not re.fullmatch(INSTRUCTION, str(key)):
                yield f"{prefix}{key}"
                if OmegaConf.is_dict(inner) and not inner._is_none():
                    yield from flat(inner, f"{prefix}{key}.")

    composed = compose([f"{group}={name}" for group, name in chosen.items()], config)
    made = ("run.choices", "run.overrides")  # by the command itself
    keys = {key for key in flat(composed) if not key.startswith(made)} - {*GROUPS, "run.tracker"}
    assert keys == set(default_values(config, chosen))
