"""The same run on a GPU: same losses within rounding, rows gathered on the device, every precision and compiled."""

import json
from pathlib import Path

import pytest
import torch

from mtlbench.cli.compose import compose
from mtlbench.experiment.run import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]

SMALL = [
    "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=6000", "trainer.epochs=2",
    "trainer.patience=null", "tracker=none",
]  # fmt: skip


def losses(folder: Path, device: str, *overrides: str) -> list[float]:
    places = [f"run.data={folder}/data", f"run.folder={folder}/{device}", f"run.device={device}"]
    config = compose([*SMALL, *places, *overrides])
    lines = (train(config).folder / "metrics.jsonl").read_text().splitlines()
    return [value for line in lines for name, value in json.loads(line)["values"].items() if name.endswith("/loss")]


@pytest.mark.parametrize("model", ["mmoe", "dephn", "dnn"])
@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam"])
def test_a_gpu_gives_the_losses_of_a_cpu(tmp_path: Path, model: str, optimizer: str):
    overrides = (f"model={model}", f"optimizer={optimizer}")
    on_cpu, on_gpu = losses(tmp_path, "cpu", *overrides), losses(tmp_path, "cuda", *overrides)
    assert len(on_cpu) >= 4
    assert on_gpu == pytest.approx(on_cpu, rel=5e-3)


def test_bf16_and_compiled_stay_near(tmp_path: Path):
    plain = losses(tmp_path, "cuda", "model=mmoe")
    quick = losses(tmp_path, "cuda", "model=mmoe", "trainer.precision=bf16", "trainer.compile=true")
    assert quick == pytest.approx(plain, rel=0.05)
