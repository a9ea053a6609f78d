"""Attention over histories finds what pooling them loses: behaviour planted behind the candidate's own kind.

With 54,000 training rows and four epochs, excess shares of 0.38 (click) and 0.30 (conversion) were measured under
`din`, 0.27 and 0.04 under `dnn`, 0.23 and 0.10 under `mmoe`; all of them read the same fields.
"""

from pathlib import Path

import pytest

from mtlbench.cli.compose import compose
from mtlbench.experiment.run import train

SETTINGS = [
    "dataset=aliccp",
    "dataset.source=simulated",
    "dataset.fields=din",
    "dataset.reader.history_width=15",
    "dataset.simulator.rows=60000",
    "dataset.simulator.rates=demo",
    "dataset.simulator.history=10",
    "dataset.simulator.shift=0.0",  # scenarios act alike in all parts
    "trainer.batch_size=256",
    "trainer.epochs=4",
    "trainer.patience=null",
    "optimizer=lazy_adam",
    "optimizer.lr=0.001",
    "tracker=none",
]


@pytest.mark.long
def test_attention_finds_what_pooling_loses(tmp_path: Path) -> None:
    shares: dict[str, list[float]] = {}
    for model in ("dnn", "mmoe", "din"):
        places = [f"run.data={tmp_path}/data", f"run.folder={tmp_path}/runs"]
        metrics = train(compose([f"model={model}", *SETTINGS, *places])).result.metrics
        shares[model] = [metrics[f"test/{task}/excess_auc_share"] for task in ("click", "conversion")]
    for task in range(2):
        assert shares["din"][task] > max(shares["dnn"][task], shares["mmoe"][task]) + 0.05, shares
