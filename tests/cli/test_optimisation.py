"""Optimizers by kind of parameter, freezing and schedules, from the command line: what moves, and what is refused."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mtlbench.cli import main

SMALL = [
    "model=mmoe", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=900",
    "dataset.one_class=note", "trainer.epochs=2", "trainer.patience=null", "trainer.select=logloss",
    "trainer.batch_size=256", "tracker=none",
    "profile.expert_layers=[4]", "profile.tower_layers=[4]", "profile.embedding_width=2",
]  # fmt: skip

Train = Callable[..., tuple[int, str, Path]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def train(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """``mtlbench train``: exit status, standard error, the folder of the run."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it
    runs = tmp_path / "runs"

    def command(*words: str) -> tuple[int, str, Path]:
        before = set(runs.glob("*/"))
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            status = main(["train", *SMALL, f"run.data={data}", f"run.folder={runs}", *words])
        new = set(runs.glob("*/")) - before
        return status, capsys.readouterr().err, new.pop() if new else runs

    return command


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Parameters at the end, without what a virtual gradient counts."""
    state = torch.load(run / "last.pt", weights_only=True)["model"]
    return {name: tensor for name, tensor in state.items() if not name.startswith("virtual_gradient")}


def rates(run: Path) -> list[float]:
    """Learning rates of the optimizers at the end: embedding, gate where they have their own, dense."""
    groups = [state["param_groups"] for state in torch.load(run / "last.pt", weights_only=True)["optimizers"]]
    return [group["lr"] for (group,) in groups]


def decays(run: Path) -> list[float]:
    groups = [state["param_groups"] for state in torch.load(run / "last.pt", weights_only=True)["optimizers"]]
    return [group["weight_decay"] for (group,) in groups]


def test_deferred_steps_give_the_weights_of_dense_ones(train: Train):
    runs = []
    for rows in ("1", "null"):
        status, err, run = train(f"optimizer.deferred_rows={rows}", "trainer.clip=0.1", "scheduler=cosine")
        assert status == 0, err
        runs.append(run)
    dense, deferred = weights(runs[1]), weights(runs[0])
    assert all(torch.allclose(deferred[name], dense[name], rtol=0, atol=1e-5) for name in dense)
    scores = [json.loads((run / "result.json").read_text())["metrics"] for run in runs]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["optimizer.gate_lr=0.03"], [0.001, 0.03, 0.001]),
        (["optimizer=adam_sgd_gates", "optimizer.gate_lr=0.03"], [0.001, 0.03, 0.001]),
        (["optimizer=adamw"], [0.001, 0.001]),
        (["optimizer=momentum", "optimizer.lr=0.2"], [0.2, 0.2]),
    ],
)
def test_learning_rates_by_kind(train: Train, words: list[str], expected: list[float]):
    status, err, run = train(*words)
    assert status == 0, err
    assert rates(run) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [0, 0]),
        (["optimizer.weight_decay.embedding=1e-5"], [1e-5, 0]),
        (["optimizer.weight_decay.dense=0.1", "optimizer.weight_decay.gate=0.2"], [0, 0.2, 0.1]),
        (["optimizer.weight_decay=0.1"], [0.1, 0.1]),
        (["optimizer=adam_sgd_gates", "optimizer.weight_decay=0.1"], [0.1, 0.1, 0.1]),
        (["optimizer=adamw"], [0.01, 0.01]),
    ],
)
def test_weight_decay_by_kind(train: Train, words: list[str], expected: list[float]):
    status, err, run = train(*words)
    assert status == 0, err
    assert decays(run) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["scheduler=cosine"], 0.0),
        (["scheduler=linear", "scheduler.end_factor=0.1"], 0.0001),
        (["scheduler=warmup", "scheduler.total_iters=12"], 0.001 * (0.01 + 0.99 * 6 / 12)),
        (["scheduler=plateau", "scheduler.threshold=100"], 0.0001),
    ],
)
def test_learning_rates_at_the_end_of_a_schedule(train: Train, words: list[str], expected: float):
    """Six steps, two evaluations of which the second is never better by 100."""
    status, err, run = train(*words)
    assert status == 0, err
    assert rates(run) == pytest.approx([expected, expected], abs=1e-12)


@pytest.mark.parametrize(
    ("kinds", "words"), [("gate", ["virtual_gradient=add_cos"]), ("embedding", []), ("gate,embedding", [])]
)
def test_frozen_kinds_keep_their_initial_values(train: Train, kinds: str, words: list[str]):
    runs = []
    for lr in ("0.001", "0.01"):
        status, err, run = train(f"optimizer.freeze=[{kinds}]", f"optimizer.lr={lr}", *words)
        assert status == 0, err
        runs.append(weights(run))
    same = {name for name in runs[0] if torch.equal(runs[0][name], runs[1][name])}
    frozen = {name for name in runs[0] if any(kind in name for kind in kinds.split(","))}
    assert same == frozen
    assert frozen < set(runs[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.freeze=[gate]", "model=shared_bottom"], "optimizer.freeze has 'gate', but SharedBottom has no"),
        (["optimizer.freeze=[gate,embedding,dense]"], "leaves nothing to train"),
        (["optimizer.freeze=[tower]"], "optimizer.freeze"),
        (["optimizer.gate_lr=-1"], "optimizer.gate.lr is -1"),
        (["optimizer=lazy_adam", "optimizer.weight_decay.embedding=0.1"], "LazyAdam has no such argument"),
        (["scheduler=cosine", "scheduler.T_max=x"], "scheduler.T_max: 'x' is not of type int"),
        (["scheduler=linear", "scheduler.end_factor=2"], "scheduler: Ending multiplicative factor"),
        (["scheduler=plateau", "scheduler.mode=min"], "scheduler.mode=min; allowed: max"),
        (["scheduler=cosine", "scheduler._target_=torch.optim.Adam"], "expected a subclass of torch.optim.lr_sched"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(train: Train, words: list[str], message: str):
    status, err, _ = train(*words)
    assert status != 0
    assert message in err
