"""Models learn what a simulator planted, and nothing where the structure is destroyed."""

from pathlib import Path

import pytest

from mtlbench.cli.compose import compose
from mtlbench.experiment.run import train

pytestmark = pytest.mark.long

ALICCP = ["dataset=aliccp", "dataset.source=simulated", "dataset.simulator.rows=200000", "dataset.simulator.rates=demo"]
QUICK = ["optimizer=lazy_adam", "trainer.batch_size=512", "trainer.epochs=5", "trainer.patience=1", "tracker=none"]
LOGISTIC_REGRESSION = ["model=dnn", "model.network.layers=[]"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def metrics(data: Path, folder: Path, *overrides: str) -> dict[str, float]:
    config = compose([*ALICCP, *QUICK, f"run.data={data}", f"run.folder={folder}", *overrides])
    return train(config).result.metrics


def share(measured: dict[str, float], task: str) -> float:
    return measured[f"test/{task}/excess_auc_share"]


def test_gated_models_come_near_the_ceiling_and_a_linear_one_does_not(data: Path, tmp_path: Path):
    linear = metrics(data, tmp_path, *LOGISTIC_REGRESSION)
    for model in ("mmoe", "dephn"):
        gated = metrics(data, tmp_path, f"model={model}")
        # Measured: mmoe 0.80 and 0.74 here, with a fifth of the rows that the README's figures have.
        assert share(gated, "click") > 0.72
        assert share(gated, "conversion") > 0.62
        assert share(gated, "click") > share(linear, "click") + 0.15
        assert gated["test/click/auc"] < gated["test/click/ceiling_auc"], "better than the truth: a leak"
    assert share(linear, "click") < 0.6


@pytest.mark.parametrize("model", [["model=mmoe"], ["model=dephn"], LOGISTIC_REGRESSION])
def test_nothing_is_learnt_where_the_structure_is_destroyed(data: Path, tmp_path: Path, model: list[str]):
    measured = metrics(data, tmp_path, *model, "dataset.simulator.structure=false", "trainer.epochs=1")
    for task in ("click", "conversion"):
        positives = measured[f"test/{task}/positives"]
        negatives = measured[f"test/{task}/rows"] - positives
        # Standard error of the Mann-Whitney statistic under the null hypothesis.
        error = ((positives + negatives + 1) / (12 * positives * negatives)) ** 0.5
        assert abs(measured[f"test/{task}/auc"] - 0.5) < 4 * error
