"""Embedding tables in bfloat16, by the user's commands: trained, resumed, evaluated, exported; and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import mtlbench
from mtlbench.cli import main
from mtlbench.cli.compose import compose
from mtlbench.experiment import objects, size
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.objects import check_model_size, check_table_precision
from mtlbench.experiment.run import train as run
from mtlbench.train.interrupt import Interrupted
from synthetic import plain_schema

SMALL = [
    "model=mmoe", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=900",
    "dataset.one_class=note", "trainer.epochs=2", "trainer.patience=null", "trainer.select=logloss",
    "trainer.batch_size=256", "tracker=none", "run.threads=1",
    "profile.expert_layers=[4]", "profile.tower_layers=[4]", "profile.embedding_width=4",
]  # fmt: skip
LAZY = "optimizer=lazy_adam"
BF16 = [LAZY, "optimizer.table_precision=bf16"]

Train = Callable[..., tuple[int, str, Path]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def train(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    """``mtlbench train``: exit status, standard error, the folder of the run."""

    def command(*words: str) -> tuple[int, str, Path]:
        before = set((tmp_path / "runs").glob("*/"))
        status = main(["train", *SMALL, f"run.data={data}", f"run.folder={tmp_path}/runs", *words])
        (found,) = set((tmp_path / "runs").glob("*/")) - before or {tmp_path}
        return status, capsys.readouterr().err, found

    return command


def tables(folder: Path, file: str = "last.pt") -> dict[str, torch.Tensor]:
    content = torch.load(folder / file, weights_only=True)
    state = content["model"] if file == "last.pt" else content["parts"]["model"]
    return {name: tensor for name, tensor in state.items() if "embedding" in name}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["model=widedeep", "model.network.crosses=[[sex,race]]"],
        ["trainer.checkpoint=task", "trainer.precision=bf16", "balancing=gradnorm"],
        ["run.shard_tables=true", "trainer.clip=0.1", "trainer.conflicts=true", "scheduler=cosine"],
        ["optimizer.freeze=[embedding]"],
    ],
)
def test_a_run_is_trained_and_evaluated(train: Train, tmp_path: Path, words: list[str]):
    status, text, folder = train(*BF16, *words)
    assert status == 0, text
    assert {tensor.dtype for tensor in tables(folder).values()} == {torch.bfloat16}
    state = torch.load(folder / "last.pt", weights_only=True)["optimizers"][0]["state"]
    assert {each["moments"].dtype for each in state.values() if "moments" in each} <= {torch.bfloat16}
    assert main(["evaluate", folder.name, f"run.folder={tmp_path}/runs"]) == 0  # compared with its own result


def test_a_run_that_was_interrupted_goes_on_to_the_same_bits(data: Path, tmp_path: Path):
    states = []
    for name, stops in (("whole", False), ("stopped", True)):
        words = [*SMALL, *BF16, f"run.data={data}", f"run.folder={tmp_path}/{name}"]

        def stop(folder: Path) -> None:
            raise Interrupted("once")

        if stops:
            with pytest.raises(Interrupted):
                run(compose(words), after_evaluation=stop)
        states.append(torch.load(run(compose(words)).folder / "last.pt", weights_only=True))
    (whole, stopped), moments = states, [state["optimizers"][0]["state"][0]["moments"] for state in states]
    assert all(torch.equal(whole["model"][name], stopped["model"][name]) for name in whole["model"])
    assert torch.equal(*moments)
    assert torch.equal(whole["random"], stopped["random"])


def test_what_is_loaded_and_exported_is_in_float32(train: Train, tmp_path: Path):
    status, text, folder = train(*BF16)
    assert status == 0, text
    loaded = dict(mtlbench.load(folder).model.named_parameters())
    for name, stored in tables(folder, "best.pt").items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], stored.float())
    place = f"run.folder={tmp_path}/runs"
    assert main(["export", folder.name, "--to", str(tmp_path / "exported"), "--no-onnx", place]) == 0
    (file,) = (tmp_path / "exported").rglob("*.npz")  # export compares its predictions with the run's own
    with np.load(file) as weights:
        assert {weights[name].dtype for name in weights.files if "embedding" in name} == {np.dtype("float32")}


def test_the_default_is_the_run_without_the_key_and_bfloat16_another(train: Train):
    names = [train(LAZY, *words)[2].name for words in ([], ["optimizer.table_precision=bf16"])]
    assert names[0] != names[1]
    assert train(LAZY, "optimizer.table_precision=fp32")[2].name not in names[1:]  # finished: no new folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.table_precision=bf16"], "torch.optim.Adam has no stochastic rounding"),
        (
            ["optimizer=adagrad", "optimizer.table_precision=bf16"],
            "Choose optimizer=lazy_adam, or optimizer.table_prec",
        ),
        ([*BF16, "optimizer.sparse=false"], "LazyAdam needs sparse gradients"),
        ([LAZY, "optimizer.table_precision=fp16"], "optimizer.table_precision: 'fp16'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(train: Train, words: list[str], message: str):
    status, text, _ = train(*words)
    assert status != 0
    assert message in " ".join(text.split()), text


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch):
    config = compose([*SMALL, *BF16])
    check_table_precision(config)
    monkeypatch.setattr(objects, "alone", lambda: False)
    with pytest.raises(ConfigError, match=r"supports a single process only\. Start the command without torchrun"):
        check_table_precision(config)


def test_the_memory_of_tables_is_counted_by_their_precision(monkeypatch: pytest.MonkeyPatch):
    """6 bytes for a number: in bfloat16 the table and two moments; 12 in float32."""
    schema = plain_schema(cardinality=1_000_000)
    numbers = schema.embedding_rows * 4
    for words, needed in ((BF16, 6 * numbers), ([LAZY], 12 * numbers)):
        config = compose([*SMALL, *words])
        monkeypatch.setattr(size, "available_memory", lambda needed=needed: needed + 10**5)
        check_model_size(config, schema)
        monkeypatch.setattr(size, "available_memory", lambda needed=needed: needed - 1)
        with pytest.raises(ConfigError, match="of memory are available"):
            check_model_size(config, schema)
