"""Writes the three WeChat files, as published, for a synthetic population, some users at a time in constant memory.

Departure from the published files: texts are a few words long, the device is determined by the user, all feeds exist
from the first day on, and every action depends only on user and feed, not on the other actions.
"""

from pathlib import Path

import numpy as np

from mtlbench.datasets.simulated_files import truth_file, write_mark
from mtlbench.datasets.wechat.layout import POSITIVES
from mtlbench.datasets.wechat.population import WeChatPopulation
from mtlbench.datasets.wechat.writer import (
    ACTION_HEADER,
    EMBEDDING_HEADER,
    FEED_HEADER,
    action_lines,
    embedding_lines,
    feed_lines,
)


def simulate(folder: Path, population: WeChatPopulation, *, actions: tuple[str, ...], version: int) -> None:
    """Write the files, the true probabilities of the chosen actions, and ``simulated.json``.

    The mean probabilities are the rates, exactly up to 1.4 million rows, nearly beyond; labels add sampling
    noise. The files hold all seven actions, whichever are chosen; the true probabilities of the header are NaN.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, chosen = folder / "user_action.csv", [list(POSITIVES).index(action) for action in actions]
    with path.open("wb") as file, truth_file(path, len(actions), header=True) as write_truth:
        file.write(ACTION_HEADER.encode() + b"\n")
        for first in population.pieces:
            piece = population.piece(first)
            random = np.random.default_rng([population.seed, first, 3])
            drawn, chances = population.labels.draw(population.components(piece), random)
            file.write(action_lines(population, piece, dict(zip(POSITIVES, drawn.T, strict=True))))
            write_truth(chances[:, chosen])
    for name, header, lines in (
        ("feed_info.csv", FEED_HEADER, feed_lines(population)),
        ("feed_embeddings.csv", EMBEDDING_HEADER, embedding_lines(population)),
    ):
        with (folder / name).open("w", encoding="ascii", newline="") as file:
            file.write(header + "\n")
            file.writelines(lines)
    write_mark(folder, "wechat", version, population, actions=actions)
