"""Writes Ali-CCP's four files in the published format, for a synthetic population, in constant memory.

Departure from the published files: behaviour lists are shorter by default (40 triples per common row against 518), the
cross and history ids are the matched entry's number within the field's own range, conversions without a click occur
only on demand, and no field depends on time.
"""

from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from mtlbench.datasets.aliccp.population import AliCCPPopulation
from mtlbench.datasets.aliccp.writer import common_lines, skeleton_lines
from mtlbench.datasets.draws import TEST, TRAIN, Floats, Integers
from mtlbench.datasets.planted import LabelModel
from mtlbench.datasets.simulated_files import truth_file, write_mark
from mtlbench.ingest.workers import cores, parallel_map

MANY_PIECES = 32
"""Pieces (a million rows) from which starting several processes pays."""


def simulate(folder: Path, population: AliCCPPopulation, *, version: int) -> None:
    """Write the four files, the true probabilities of the labelled ones, and ``simulated.json``.

    The result depends only on the population. The mean probabilities of the training part are the rates, exactly
    up to 1.8 million rows and nearly beyond; the labels add the noise of their draw.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in ((TRAIN, "train"), (TEST, "test")):
        _write_part(folder, population, part, name)
    write_mark(folder, "aliccp", version, population)


def _write_part(folder: Path, population: AliCCPPopulation, part: int, name: str) -> None:
    pieces = population.pieces(part)
    begins = accumulate((int(sizes.sum()) for _, _, sizes in pieces), initial=0)
    jobs = [(*piece, begin) for piece, begin in zip(pieces, begins, strict=False)]
    processes = cores() if len(jobs) >= MANY_PIECES else 1
    skeleton = folder / f"sample_skeleton_{name}.csv"
    with (
        skeleton.open("wb") as impressions,
        (folder / f"common_features_{name}.csv").open("wb") as common,
        truth_file(skeleton, 2) as write_truth,
        closing(parallel_map(_Writer(population, population.labels), jobs, processes, f"simulating {name}")) as results,
    ):
        for rows_text, common_text, chances in results:
            impressions.write(rows_text)
            common.write(common_text)
            write_truth(chances)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes a piece: a part, its first key, the impressions of each key, and the number of the first impression."""

    population: AliCCPPopulation
    labels: LabelModel

    def __call__(self, job: tuple[int, int, Integers, int]) -> tuple[bytes, bytes, Floats]:
        """Lines of both files, and the true probabilities ``[R, 2]`` of a click and of a conversion."""
        part, first, sizes, begin = job
        piece = self.population.piece(part, first, sizes)
        random = np.random.default_rng([self.population.seed, part, first, 1])
        labels, chances = self.labels.draw(piece.components, random)
        click, conversion = labels.T
        conversion |= ~click & (random.random(click.size) < self.population.contradictions)
        rows = skeleton_lines(self.population, piece, click, conversion, begin, random)
        return rows, common_lines(self.population, piece, random), chances
