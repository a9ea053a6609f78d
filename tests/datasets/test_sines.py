"""Sums of sines: weights of the stated length and cosine, labels of the stated form, data of a run's own."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mtlbench.cli import main
from mtlbench.cli.compose import compose
from mtlbench.datasets.sines import NOISE, Sines, means, weights
from mtlbench.experiment.data import open_or_prepare, resolve_data


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 0.5, 1.0])
def test_weights_have_the_length_and_the_cosine_that_are_asked_for(correlation: float) -> None:
    first, second = weights(np.random.default_rng(0), 7, correlation, 3.0)
    assert [np.linalg.norm(w) for w in (first, second)] == pytest.approx([3, 3])
    assert first @ second / 9 == pytest.approx(correlation)


def test_a_label_is_its_cause_and_a_sum_of_sines() -> None:
    z = np.array([0.3, -1.2])
    by_hand = [x + sum(np.sin(i * x / 2 + i / 4) for i in (1, 2, 3)) for x in z]
    assert means(z, 3) == pytest.approx(by_hand)
    assert means(z, 0) == pytest.approx(z)


def test_the_file_holds_labels_of_its_inputs_and_noise_of_the_stated_size(tmp_path: Path) -> None:
    Sines(dimensions=5).simulate(tmp_path, rows=4000, seed=3, correlation=0.9)
    table = pq.read_table(tmp_path / "sines.parquet").to_pandas()
    weight_TD = weights(np.random.default_rng(3), 5, 0.9, 1.0)
    inputs = table[[f"x{at}" for at in range(5)]].to_numpy()
    noise = table[["first_value", "second_value"]].to_numpy() - means(inputs @ weight_TD.T, 5)
    assert noise.std(axis=0) == pytest.approx([NOISE, NOISE], rel=0.05)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.05
    assert inputs.std(axis=0) == pytest.approx(np.ones(5), rel=0.05)


def test_without_structure_labels_do_not_depend_on_inputs(tmp_path: Path) -> None:
    Sines(dimensions=3).simulate(tmp_path, rows=4000, structure=False)
    table = pq.read_table(tmp_path / "sines.parquet").to_pandas()
    assert table.corr().loc[["x0", "x1", "x2"], ["first_value", "second_value"]].abs().to_numpy().max() < 0.06


def test_a_run_has_data_of_its_own_seed_unless_one_is_named(tmp_path: Path) -> None:
    def fingerprint(*words: str) -> str:
        config = compose(["dataset=sines", f"run.data={tmp_path}", *words])
        return resolve_data(config.dataset, tmp_path).fingerprint

    assert fingerprint("seed=1") == fingerprint("dataset.simulator.seed=1") != fingerprint("seed=2")
    assert fingerprint("seed=1", "dataset.simulator.seed=7") == fingerprint("seed=2", "dataset.simulator.seed=7")


def test_a_store_of_the_simulated_file_has_standardised_labels(tmp_path: Path) -> None:
    config = compose(["dataset=sines", "dataset.dimensions=4", "dataset.simulator.rows=500", f"run.data={tmp_path}"])
    store = open_or_prepare(resolve_data(config.dataset, tmp_path))
    labels = store.split("train").columns["labels"].double()
    assert [task.kind for task in store.schema.tasks] == ["regression", "regression"]
    assert labels.mean(dim=0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert labels.std(dim=0, correction=0).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert main(["simulate", "dataset=sines", "rows=200", f"to={tmp_path}/files"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset.simulator.correlation=1.5"], "correlation is 1.5; allowed: -1 to 1"),
        (["dataset.dimensions=1"], "dimensions is 1; allowed: 2 or more"),
        (["dataset.source=real"], "never published"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "dataset=sines", f"run.data={tmp_path}", *words]) == 2
    assert message in capsys.readouterr().err
