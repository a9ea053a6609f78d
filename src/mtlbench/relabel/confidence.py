"""Labels of Criteo-R and Criteo-UR: indicators of a network's confidence and of functions of it.

Paper: Kong et al., "DEPHN: Different Expression Parallel Heterogeneous Network using virtual gradient optimization for
Multi-task Learning", section IV-A. A simple feed-forward network gives every row a confidence c; with

    y_r  = sign(c) 2 ln(|c| + 1) + 0.1 e^|c| + noise        (correlation with c: 0.9877)
    y_ur = sign(c) (2 sin |c| + 0.1 cos |c|)                (correlation with c: 0.5288)

the labels are indicators of c ("base"), of y_r ("related") and of y_ur ("unrelated").
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import ndtr, ndtri

from mtlbench.checks import in_range, one_of
from mtlbench.data.split import splitmix64
from mtlbench.data.store import SPLITS, Store
from mtlbench.metrics.binary import auc
from mtlbench.relabel.calibration import (
    Calibration,
    Reading,
    calibrate,
    correlation,
    related,
    unrelated,
)
from mtlbench.relabel.store import Labels
from mtlbench.schema import Task

if TYPE_CHECKING:
    from mtlbench.relabel.network import Network

Relation = Literal["related", "unrelated"]
Threshold = Literal["quantile", "zero"]
CalibrateOn = Literal["all", "train"]


@dataclass(frozen=True, kw_only=True)
class ConfidenceLabels:
    """Two tasks, base and related or base and unrelated, in bits of the one task of a store.

    Scale and noise (or scale and shift) make the two correlations of confidences the printed ones. A label is a
    function of a row's inputs but for the noise, so its true probability is known, on real rows too: 0 or 1 for base
    and unrelated, the normal distribution's for related.

    Attributes:
        relation: which second task.
        reading: ``printed``: the sign of y_r stands at its first term alone; the confidences are scaled and shifted.
            ``whole``: it stands at both; they are scaled, and noise is added.
        threshold: of the indicators. ``quantile``: the share `positive_rate` of training rows is positive in every
            task; ``zero``.
        positive_rate: of ``quantile``; ``None``: the rate of the base store's label on training rows.
        clip: largest absolute confidence.
        correlations: aimed at, of c with y_r and with y_ur.
        calibrate_on: the rows on which they are to hold. ``all``, because the printed ones are of the whole data set;
            scale, shift and noise define the labels and are no input of a model. ``train``: nothing but a test row's
            own inputs decides on its labels. The network and the thresholds know training rows alone either way.
        noise_seed: of the noise.
        embedding_width, layers, epochs, steps, batch_size, lr, seed: see `Network`.

    Departure: the paper gives neither the network nor the scale of its confidences, the variance of the noise or the
    threshold. As printed, y_r meets 0.9877 beside 0.5288 only for confidences that are mostly positive, and logits of
    clicks are mostly negative: so ``whole`` is the default. With threshold zero, base and unrelated differ for
    |c| > 3.09 alone: so ``quantile`` is.
    """

    relation: Relation
    reading: Reading = "whole"
    threshold: Threshold = "quantile"
    positive_rate: float | None = None
    clip: float = 4.0
    correlations: tuple[float, float] = (0.9877, 0.5288)
    calibrate_on: CalibrateOn = "all"
    noise_seed: int = 0
    embedding_width: int = 8
    layers: tuple[int, ...] = (64, 32)
    epochs: int = 2
    steps: int = 20_000
    batch_size: int = 128
    lr: float = 1e-3
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        one_of("relation", self.relation, Relation)
        one_of("reading", self.reading, Reading)
        one_of("threshold", self.threshold, Threshold)
        one_of("calibrate_on", self.calibrate_on, CalibrateOn)
        in_range("positive_rate", self.positive_rate, gt=0, lt=1, also="null")
        for key in ("clip", "epochs", "steps", "batch_size"):
            in_range(key, getattr(self, key), gt=0)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return Task(name="base", label="base"), Task(name=self.relation, label=self.relation)

    def __call__(self, base: Store) -> Labels:
        """Train the network and label every row; takes about 150 bytes of memory per row."""
        if len(base.schema.tasks) != 1:
            raise ValueError(f"relabel: the base store has {len(base.schema.tasks)} tasks; confidences are of one")
        logits = self._network().confidences(base)
        given = {split: base.split(split).columns["labels"][:, 0].numpy() for split in SPLITS}
        seeds = {split: self.noise_seed * len(SPLITS) + at for at, split in enumerate(SPLITS)}
        drawn = {split: standard_normal(len(logits[split]), seeds[split]) for split in SPLITS}
        calibration = self._calibrated(logits, drawn)
        exact = {split: self._maps(calibration.confidence(logits[split])) for split in SPLITS}
        noise = {split: calibration.noise * drawn[split] for split in SPLITS}
        noisy = {split: {**exact[split], "related": exact[split]["related"] + noise[split]} for split in SPLITS}
        thresholds = self._thresholds(noisy["train"], float(given["train"].mean()))
        labels = {split: {name: noisy[split][name] > thresholds[name] for name in thresholds} for split in SPLITS}
        truth = {split: _truth(exact[split], thresholds, calibration.noise) for split in SPLITS}
        names = [task.name for task in self.tasks]
        return Labels(
            labels={split: _stacked(labels[split], names, np.int8) for split in SPLITS},
            truth={split: _stacked(truth[split], names, np.float32) for split in SPLITS},
            confidences={split: _stacked(noisy[split], names, np.float32) for split in SPLITS},
            facts={
                **asdict(calibration),
                "calibrated_on": self.calibrate_on,
                "thresholds": {name: thresholds[name] for name in names},
                "confidence_correlations": _correlations(noisy),
                "label_correlations": _correlations(labels),
                "network_auc": {split: auc(logits[split], given[split] > 0) for split in SPLITS},
            },
        )

    def _network(self) -> "Network":
        from mtlbench.relabel.network import Network  # imports torch's compiler: two seconds, to train and not to plan

        return Network(**{field.name: getattr(self, field.name) for field in fields(Network)})

    def _calibrated(self, logits: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]) -> Calibration:
        rows = SPLITS if self.calibrate_on == "all" else ("train",)
        chosen, noise = (np.concatenate([values[split] for split in rows]) for values in (logits, drawn))
        return calibrate(chosen, noise, self.reading, self.clip, self.correlations)

    def _maps(self, c: np.ndarray) -> dict[str, np.ndarray]:
        return {"base": c, "related": related(c, self.reading), "unrelated": unrelated(c)}

    def _thresholds(self, train: Mapping[str, np.ndarray], given_rate: float) -> dict[str, float]:
        if self.threshold == "zero":
            return dict.fromkeys(train, 0.0)
        rate = given_rate if self.positive_rate is None else self.positive_rate
        return {name: float(np.quantile(values, 1 - rate)) for name, values in train.items()}


def standard_normal(rows: int, seed: int) -> np.ndarray:
    """Standard normal numbers, float64 ``[rows]``: a function of the row's number and the seed, on every machine."""
    bits = splitmix64(np.arange(rows, dtype=np.uint64), seed)
    return ndtri(((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


def _truth(exact: Mapping[str, np.ndarray], thresholds: Mapping[str, float], noise: float) -> dict[str, np.ndarray]:
    """Probability that each label is 1, given the inputs of its row."""
    certain = {name: (values > thresholds[name]).astype(np.float64) for name, values in exact.items()}
    if noise == 0:
        return certain
    return {**certain, "related": ndtr((exact["related"] - thresholds["related"]) / noise)}


def _correlations(values: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, float | None]]:
    """Of base with related and with unrelated, on every split and on all rows; null where one of them is constant."""
    everything = {name: np.concatenate([values[split][name] for split in SPLITS]) for name in values["train"]}
    parts = {**values, "all": everything}
    return {
        name: {part: _or_none(correlation(of["base"], of[name])) for part, of in parts.items()}
        for name in ("related", "unrelated")
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value  # JSON has no such number


def _stacked(values: Mapping[str, np.ndarray], names: list[str], dtype: type[np.generic]) -> np.ndarray:
    return np.stack([values[name] for name in names], axis=1).astype(dtype)
