"""Prints the lowest versions that pyproject.toml allows, as constraints for pip.

torch is left out: its lowest version is a download of gigabytes. Development tools keep their newest versions.
"""

import re
import tomllib
from pathlib import Path

REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[[^]]*\])?(>=|==)(?P<version>[0-9.]+)")


def lowest(
    project: dict[str, object], extras: tuple[str, ...] = ("export", "parallel", "balancing", "tune")
) -> list[str]:
    """``name==version`` of each dependency, and of those of some extras."""
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    assert isinstance(project["dependencies"], list)
    requirements = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    found = [REQUIREMENT.match(line) for line in requirements]
    return [f"{match['name']}=={match['version']}" for match in found if match and match["name"] != "torch"]


if __name__ == "__main__":
    content = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    print("\n".join(lowest(content["project"])))
