"""An analysis of a run, as a file in its folder and as a figure with a table of its numbers."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, TypeAdapter

from mtlbench.files import write_beside
from mtlbench.metrics.importance import Importance
from mtlbench.metrics.reliability import Reliability
from mtlbench.metrics.slices import Slices
from mtlbench.report import importance, reliability, slices
from mtlbench.report.draw import png
from mtlbench.report.figure import FigureResult, NumberTable, Panel
from mtlbench.report.result import Run
from mtlbench.tracking.files import DamagedFileError, read_json
from mtlbench.tracking.folder import ANALYSIS
from mtlbench.tracking.sent import link_of

FORMAT = 1
"""Version of the file format; increased by incompatible changes."""

Found = Slices | Reliability | Importance


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """An analysis of a run.

    Attributes:
        run: identity of the run; ``model``, ``dataset``, ``seed`` are its choices.
        origin: origin of its data, real or simulated.
        split: the analysed split.
        found: the result of the analysis.
    """

    run: str
    model: str
    dataset: str
    seed: int
    origin: Literal["real", "simulated"]
    split: str
    found: Annotated[Found, Discriminator("kind")]

    @property
    def name(self) -> str:
        """Name of the analysis, such as ``slices-test-country``; repeating it gives the same name."""
        fields = self.found.fields if isinstance(self.found, Slices) else ()
        return "-".join([self.found.kind, self.split, *(re.sub(r"[^\w.]", "_", name) for name in fields)])


ADAPTER = TypeAdapter(Analysis)


def write_analysis(folder: Path, analysis: Analysis) -> Path:
    """Write an analysis and its figure to the folder of its run, as ``analysis/<name>.json`` and ``.png``.

    Existing files of the same name are replaced.

    Returns:
        The JSON file.
    """
    path = folder / ANALYSIS / f"{analysis.name}.json"
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"format": FORMAT, **asdict(analysis)}, indent=1, ensure_ascii=False, allow_nan=False)
    write_beside(path, (text + "\n").encode())
    write_beside(path.with_suffix(".png"), png(figure(analysis)))
    return path


def read_analyses(folder: Path) -> list[Analysis]:
    """The analyses of a run, by name.

    Raises:
        DamagedFileError: a file is damaged, or has another format version.
    """
    return [_read(path) for path in sorted((folder / ANALYSIS).glob("*.json"))]


def _read(path: Path) -> Analysis:
    remedy = f"Remove it, and mtlbench evaluate {path.parents[1]} writes it again"
    content = read_json(TypeAdapter(dict[str, Any]), path, remedy)
    if (version := content.pop("format", None)) != FORMAT:
        raise DamagedFileError(f"{path} is of format {version}; this version reads {FORMAT}. {remedy}")
    return read_json(ADAPTER, path, remedy)


def figure(analysis: Analysis, folder: Path | None = None) -> FigureResult:
    """The figure of an analysis, with its numbers.

    Args:
        analysis: the analysis.
        folder: folder of the run, which may have the address of its page on a tracking server.
    """
    link = None if folder is None else link_of(folder)
    run = Run(
        identity=analysis.run, seed=analysis.seed, dataset=analysis.dataset, origin=analysis.origin, link=link, curve=()
    )
    title, panels = _drawing(analysis.found)
    return FigureResult(
        name=f"{analysis.run}-{analysis.name}",
        title=title,
        paper=f"{analysis.model} on {analysis.dataset}, seed {analysis.seed}",
        place=f"{analysis.split} split",
        panels=panels,
        marks=("SIMULATED DATA",) if analysis.origin == "simulated" else (),
        runs=(run,),
        tables=tables(analysis.found),
    )


def tables(found: Found) -> tuple[NumberTable, ...]:
    """The numbers of an analysis, one table per task."""
    if isinstance(found, Slices):
        return slices.tables(found)
    return reliability.tables(found) if isinstance(found, Reliability) else importance.tables(found)


def _drawing(found: Found) -> tuple[str, tuple[Panel, ...]]:
    """Title and panels of an analysis."""
    if isinstance(found, Slices):
        return f"Metrics by {' and '.join(found.fields)}", slices.panels(found)
    if isinstance(found, Reliability):
        return "Calibration", reliability.panels(found)
    return "Permutation importance", importance.panels(found)
