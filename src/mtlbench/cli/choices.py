"""What there is to choose from: the groups of the configuration folder and the first comment of each file in them."""

from pathlib import Path

import mtlbench
from mtlbench.experiment.errors import ConfigError

GROUPS = {
    "model": "what is trained",
    "dataset": "what it is trained on",
    "optimizer": "how parameters move",
    "virtual_gradient": "how the relevance of labels bends the gradient of gates",
    "loss": "what a wrong prediction of a task costs",
    "balancing": "how the tasks' losses become one",
    "trainer": "batches, epochs, precision, selection of weights",
    "profile": "widths and settings that models share",
    "tracker": "where results are sent",
}


def conf_folder() -> Path:
    """The configuration folder: inside an installed wheel, or at the top of the repository."""
    package = Path(mtlbench.__file__).parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").exists():
            return folder
    raise FileNotFoundError(f"no configuration beside {package}; install mtlbench again")


def choices(group: str) -> dict[str, str]:
    """Names in a group, and what their files say of themselves; ``_files`` are parts of others."""
    return {path.stem: first_comment(path) for path in sorted((conf_folder() / group).glob("[!_]*.yaml"))}


def comments(group: str, name: str) -> tuple[str, str]:
    """The first two lines of a model's file: the paper, and what the model is; empty where there are fewer."""
    lines = (conf_folder() / group / f"{name}.yaml").read_text().splitlines()[:2]
    paper, what = (line.lstrip("# ").strip() if line.startswith("#") else "" for line in [*lines, "", ""][:2])
    return paper, what


def options(arguments: list[str], defaults: dict[str, str]) -> dict[str, str]:
    """The ``key=value`` words of a command that takes a few keys of its own.

    Raises:
        ConfigError: a key that is not among the defaults.
    """
    found = dict(defaults)
    for word in arguments:
        key, equals, value = word.partition("=")
        if equals and key not in defaults:
            raise ConfigError(f"unknown '{word}'; allowed: {', '.join(f'{name}=' for name in defaults)}")
        if equals:
            found[key] = value
    return found


def flags(
    arguments: list[str], *, values: tuple[str, ...], switches: tuple[str, ...]
) -> tuple[dict[str, str], list[str]]:
    """Values of ``--flags``, written ``--flag value`` or ``--flag=value``, and the other words; a switch has none.

    Raises:
        ConfigError: a flag that is not among them, or one without its value.
    """
    found: dict[str, str] = {}
    words: list[str] = []
    rest = iter(arguments)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            words.append(word)
        elif name in switches and not equals:
            found[name] = ""
        elif name in values:
            found[name] = value if equals else next(rest, "")
            if not found[name]:
                raise ConfigError(f"--{name} needs a value")
        else:
            raise ConfigError(f"no such option: {word}; there are {', '.join(f'--{n}' for n in (*values, *switches))}")
    return found, words


def first_comment(path: Path) -> str:
    """The first comment line of a YAML file that is not a directive for Hydra."""
    for line in path.read_text().splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").strip()
    return ""
