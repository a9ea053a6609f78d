"""Test AUC and log loss of torch-rechub's models and of LightGBM on a prepared KuaiRand store.

    python scripts/compare_kuairand.py data/store/kuairand/<fingerprint>     in the environment of `make bench-train`

The rows, splits, ids and standardised numbers are those that mtlbench reads, and the widths those of its default
profile. torch-rechub's models, initial values and batch normalisation are its own; they are trained as mtlbench's are:
binary cross-entropy summed over tasks, Adam, learning rate 1e-3, batch 1,024, early stopping on the mean validation AUC
with a patience of two epochs, the weights of the best epoch kept. ESMM gets click and long_view, and no numbers, which
its class does not support; AITM gets the same two tasks. LightGBM trains one model per task, ids as categories, with
early stopping on validation AUC; with --trials N, each task gets the best by validation AUC of N random settings and of
the script's own. It runs on the store of any data set (--models lightgbm).
"""

# pyright: reportMissingImports=false
# The peers are not installed in the environment in which types are checked.
import argparse
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor, nn

from mtlbench.data.store import Store, open_store
from mtlbench.schema import Schema

WIDTH = 16
EXPERTS = 4
LAYERS = [128, 64]
TOWER = [32]
BATCH = 1024
PATIENCE = 2
BOOSTING = {"objective": "binary", "metric": "auc", "learning_rate": 0.05, "num_leaves": 63, "min_data_in_leaf": 50}
SEARCHED: dict[str, tuple[float, float]] = {
    "learning_rate": (0.01, 0.2), "num_leaves": (15, 255), "min_data_in_leaf": (20, 500), "lambda_l2": (0.001, 30),
    "cat_smooth": (1, 300), "feature_fraction": (0.4, 1), "bagging_fraction": (0.5, 1),
}  # fmt: skip
"""Lowest and highest value of LightGBM's searched settings, drawn on a log scale."""

Split = tuple[dict[str, Tensor], Tensor]
"""Inputs by field name, and labels ``[N, T]``."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--models", nargs="+", default=["mmoe", "esmm", "aitm", "lightgbm"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=0, help="random settings of LightGBM; 0: none")
    arguments = parser.parse_args()
    store = open_store(arguments.store)
    splits = {name: inputs(store, name) for name in ("train", "valid", "test")}
    tasks = [task.name for task in store.schema.tasks]
    for model in arguments.models:
        chosen = tasks if model in ("mmoe", "lightgbm") else ["click", "long_view"]
        columns = [tasks.index(task) for task in chosen]
        data = {name: (x, labels[:, columns]) for name, (x, labels) in splits.items()}
        for seed in range(arguments.seeds):
            if model == "lightgbm":
                p_NT = boosted(store.schema, data, arguments.trials, seed)
            else:
                p_NT = trained(model, store.schema, data, seed)
            labels = data["test"][1].numpy()
            scores = {
                task: {
                    "auc": round(float(roc_auc_score(labels[:, t], p_NT[:, t])), 5),
                    "logloss": round(float(log_loss(labels[:, t], p_NT[:, t])), 5),
                }
                for t, task in enumerate(chosen)
            }
            print(json.dumps({"model": model, "seed": seed, "test": scores}), flush=True)


def inputs(store: Store, split: str) -> Split:
    """A split in the form that torch-rechub reads: ids of each field counted from 0, those of lists from 1."""
    rows, schema = store.split(split), store.schema
    batch = rows.gather(torch.arange(len(rows)))
    assert batch.labels is not None
    found: dict[str, Tensor] = {}
    for field in schema.id_fields:
        slots = schema.slots[field.name]
        ids_BS = batch.ids[:, slots.start : slots.stop].long() - schema.offsets[field.name]
        found[field.name] = ids_BS[:, 0] if field.width == 1 else (ids_BS + 1).clamp_min(0)
    for field in schema.number_fields:
        found[field.name] = batch.numbers[:, schema.number_columns[field.name].start]
    return found, batch.labels


def network(name: str, schema: Schema, tasks: int) -> nn.Module:
    """One of torch-rechub's models."""
    from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
    from torch_rechub.models.multi_task import AITM, ESMM, MMOE

    ids = [
        SparseFeature(field.name, vocab_size=field.cardinality, embed_dim=WIDTH)
        if field.width == 1
        else SequenceFeature(field.name, vocab_size=field.cardinality + 1, embed_dim=WIDTH, padding_idx=0)
        for field in schema.id_fields
    ]
    features = [*ids, *(DenseFeature(field.name) for field in schema.number_fields)]
    layers, tower = {"dims": LAYERS}, {"dims": TOWER}
    if name == "mmoe":
        return MMOE(features, ["classification"] * tasks, EXPERTS, layers, [tower] * tasks)
    if name == "aitm":
        return AITM(features, tasks, layers, [tower] * tasks)
    return ESMM(ids[:1], ids[1:], layers, layers)


def trained(name: str, schema: Schema, data: dict[str, Split], seed: int) -> np.ndarray:
    """Test probabilities ``[N, T]`` of one of torch-rechub's models."""
    torch.manual_seed(seed)
    (x, labels), tasks = data["train"], data["train"][1].shape[1]
    model = network(name, schema, tasks)

    def probabilities(x: dict[str, Tensor]) -> Tensor:
        p_BT = model(x)
        return p_BT[:, 1:] if name == "esmm" else p_BT  # its first column is the conversion given a click

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    best, stale, kept = 0.0, 0, copy.deepcopy(model.state_dict())
    while stale < PATIENCE:
        model.train()
        for index in torch.randperm(len(labels)).split(BATCH):
            p_BT = probabilities({field: values[index] for field, values in x.items()})
            loss = nn.functional.binary_cross_entropy(p_BT, labels[index], reduction="none").mean(dim=0).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        p_NT, truth = scored(model, probabilities, data["valid"])
        auc = float(np.mean([roc_auc_score(truth[:, t], p_NT[:, t]) for t in range(tasks)]))
        stale = 0 if auc > best else stale + 1
        if auc > best:
            best, kept = auc, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return scored(model, probabilities, data["test"])[0]


@torch.no_grad()
def scored(
    model: nn.Module, probabilities: Callable[[dict[str, Tensor]], Tensor], split: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of a split, both ``[N, T]``."""
    model.eval()
    x, labels = split
    return probabilities(x).double().numpy(), labels.numpy()


def boosted(schema: Schema, data: dict[str, Split], trials: int, seed: int) -> np.ndarray:
    """Test probabilities ``[N, T]`` of one LightGBM model per task; the same random settings for all seeds."""
    import lightgbm

    names, categories = zip(*columns_of(schema), strict=True)
    matrices = {name: np.column_stack(list(matrix(x))) for name, (x, _) in data.items()}
    categorical = [name for name, category in zip(names, categories, strict=True) if category]
    found: list[np.ndarray] = []
    for task in range(data["train"][1].shape[1]):
        labels = {name: np.ascontiguousarray(truth[:, task].numpy()) for name, (_, truth) in data.items()}
        boosters: list[Any] = []
        for settings in (BOOSTING, *random_settings(trials)):
            train = lightgbm.Dataset(
                matrices["train"], labels["train"], feature_name=list(names), categorical_feature=categorical,
            )  # fmt: skip
            booster = lightgbm.train(
                settings | {"num_threads": torch.get_num_threads(), "verbosity": -1, "seed": seed},
                train,
                num_boost_round=1000,
                valid_sets=[train.create_valid(matrices["valid"], labels["valid"])],
                callbacks=[lightgbm.early_stopping(50, verbose=False)],
            )
            boosters.append(booster)
        best = max(boosters, key=lambda booster: booster.best_score["valid_0"]["auc"])
        found.append(np.asarray(best.predict(matrices["test"])))
    return np.column_stack(found)


def random_settings(trials: int) -> Iterator[dict[str, Any]]:
    """LightGBM's settings with searched values drawn at random."""
    random = np.random.default_rng(0)
    for _ in range(trials):
        drawn = {key: float(np.exp(random.uniform(*np.log(ends)))) for key, ends in SEARCHED.items()}
        counts = {key: round(drawn[key]) for key in ("num_leaves", "min_data_in_leaf")}
        yield BOOSTING | drawn | counts | {"bagging_freq": 1}


def columns_of(schema: Schema) -> Iterator[tuple[str, bool]]:
    """Names of LightGBM's columns, and whether each is a category."""
    for field in schema.fields:
        for place in range(field.width):
            yield (field.name if field.width == 1 else f"{field.name}_{place}"), field.kind == "id"


def matrix(x: dict[str, Tensor]) -> Iterator[np.ndarray]:
    """LightGBM's columns, one after another."""
    for values in x.values():
        yield from values.reshape(len(values), -1).T.double().numpy()


if __name__ == "__main__":
    main()
