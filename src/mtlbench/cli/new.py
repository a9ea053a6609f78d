"""``mtlbench new``: writes small working starter files for a model, a data set or a study."""

import keyword
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import click

from mtlbench.cli import arguments
from mtlbench.cli.choices import choices
from mtlbench.experiment.errors import ConfigError

EXAMPLES = Path(__file__).with_name("examples")

FILES = {
    "model": {"model.py": "{}.py", "model.yaml": "model/{}.yaml", "model_test.py": "test_{}.py"},
    "dataset": {"dataset.py": "{}.py", "dataset.yaml": "dataset/{}.yaml", "dataset_test.py": "test_{}.py"},
    "study": {"study.yaml": "table/{}.yaml", "study_test.py": "test_{}.py"},
}
"""Template files by kind, with the paths that they are written to."""

GROUPS = {"model": ("model",), "dataset": ("dataset",), "study": ("table", "figure")}


@click.command(cls=arguments.Command)
@click.argument("kind", type=click.Choice([*FILES]))
@click.argument("name")
@arguments.path_option("--to", default="mine", help="Output folder.")
def command(kind: str, name: str, to: Path) -> None:
    """Write starter files for a model, data set or study of your own.

    The files are small, work as they are, and come with a test. They are written to one folder, which you pass to
    every command by --config-dir or MTLBENCH_CONF. Existing files are never overwritten.

    \b
    Examples:
      mtlbench new model mynet
      mtlbench train model=mynet dataset=census --config-dir mine run.allow=[mynet]
    """
    _refuse_name(kind, name)
    files = {to / place.format(name): EXAMPLES / f"{example}.txt" for example, place in FILES[kind].items()}
    if existing := [str(path) for path in files if path.exists()]:
        raise ConfigError(
            f"{', '.join(existing)}: already exists, and is never overwritten. Choose another name or --to"
        )
    title = "".join(part.capitalize() for part in name.split("_"))
    words = {"EXAMPLE_CLASS": title, "EXAMPLE": name, "FOLDER": to.as_posix()}
    for path, example in files.items():
        text = example.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        print(f"  {path}")
    print("\n" + "\n".join(f"  {line}" for line in _next_steps(kind, name, to)))


def _next_steps(kind: str, name: str, to: Path) -> list[str]:
    test = f"pytest {shlex.quote(str(to / f'test_{name}.py'))}"
    conf_option = f"--config-dir {shlex.quote(str(to))}"
    if kind == "model":
        return [test, f"mtlbench train model={name} dataset=census {conf_option} run.allow=[{name}]"]
    if kind == "dataset":
        script = shlex.quote(str(to / f"{name}.py"))
        return [test, f"python {script}", f"mtlbench train model=mmoe dataset={name} {conf_option}"]
    return [test, f"mtlbench reproduce {shlex.quote(str(to / 'table' / f'{name}.yaml'))} --dry-run"]


def _refuse_name(kind: str, name: str) -> None:
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(f"'{name}': expected lower-case letters, digits and _, as in mynet, since it names a module")
    for group in GROUPS[kind]:
        if name in choices(group):
            raise ConfigError(f"a {group} '{name}' already exists; choose another name")
    if kind != "study" and find_spec(name) is not None:
        raise ConfigError(f"an installed Python package '{name}' would be imported instead; choose another name")
