"""The loop: resumed equals uninterrupted to the bit, selection is on validation, failures say where."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mtlbench.balancing.constant import Equal
from mtlbench.balancing.dwa import DynamicWeightAverage
from mtlbench.balancing.famo import FAMO
from mtlbench.balancing.gradnorm import GradNorm
from mtlbench.balancing.protocol import Gramian
from mtlbench.balancing.uncertainty import Uncertainty
from mtlbench.data.loader import Rows, order
from mtlbench.losses import task_losses
from mtlbench.metrics.evaluate import evaluate
from mtlbench.schema import Batch, Schema
from mtlbench.tracking.journal import Journal
from mtlbench.train import checkpoint
from mtlbench.train.budget import batch_bounds
from mtlbench.train.checkpoint import CheckpointError
from mtlbench.train.interrupt import Interrupted
from mtlbench.train.log import NonFiniteLossError
from mtlbench.train.loop import fit
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.optimizers import LazyAdam
from mtlbench.train.progress import Progress, RunContext
from mtlbench.train.score import predict_log_odds
from mtlbench.train.selection import load_best
from mtlbench.train.settings import Settings
from synthetic import plain_schema, random_batch

SCHEMA = plain_schema()
SETTINGS = Settings(
    epochs=3,
    batch_size=16,
    evaluation_batch_size=50,
    patience=None,
    select="auc",
    precision="fp32",
    compile=False,
    clip=None,
    log_steps=2,
    checkpoint_minutes=60,
)


OBJECTIVE = Objective(losses=TaskLosses(pos_weight=None, given=()), balance=Equal(tasks=SCHEMA.tasks))


class Net(nn.Module):
    """Embeddings, dropout (so that the random state matters), one logit per task."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.embedding = nn.Embedding(schema.embedding_rows, 3, sparse=True)
        self.dropout = nn.Dropout(0.3)
        self.tower = nn.Linear(3 * len(schema.id_fields), len(schema.tasks))

    def forward(self, batch: Batch) -> Tensor:
        return self.tower(self.dropout(self.embedding(batch.ids).flatten(1)))


def rows(count: int, seed: int) -> Rows:
    batch = random_batch(SCHEMA, count, seed)
    assert batch.labels is not None
    return Rows(
        schema=SCHEMA, columns={"ids": batch.ids, "labels": batch.labels.to(torch.int8)}, tables={}, pointers={}
    )


TRAIN, VALID = rows(101, 1), rows(67, 2)


def place(folder: Path) -> RunContext:
    folder.mkdir(exist_ok=True)
    return RunContext(identity="toy", folder=folder, journal=Journal(folder), device=torch.device("cpu"), seed=5)


def built(model: nn.Module | None = None) -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    torch.manual_seed(7)
    model = model or Net(SCHEMA)
    embedding = [p for name, p in model.named_parameters() if "embedding" in name]
    dense = [p for name, p in model.named_parameters() if "embedding" not in name]
    return model, [LazyAdam(embedding, lr=0.05), torch.optim.Adam(dense, lr=0.05)]


def trained(
    folder: Path,
    settings: Settings = SETTINGS,
    model: nn.Module | None = None,
    train: Rows = TRAIN,
    objective: Objective = OBJECTIVE,
) -> tuple[nn.Module, Progress]:
    model, optimizers = built(model)
    return model, fit(model, optimizers, objective, (train, VALID), SCHEMA.tasks, settings, place(folder))


def journal_values(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {"step": line["step"], **{k: v for k, v in line["values"].items() if "rows_per_second" not in k}}
        for line in lines
    ]


@pytest.mark.parametrize("steps_before_the_signal", [3, 9])
def test_a_shuffle_buffer_resumes_in_the_middle_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_before_the_signal: int
):
    settings = replace(SETTINGS, shuffle_buffer=40, shuffle_block=10)
    whole, _ = trained(tmp_path / "whole", settings)
    signal_at(monkeypatch, steps_before_the_signal)
    with pytest.raises(Interrupted):
        trained(tmp_path / "halved", settings)
    resumed, _ = trained(tmp_path / "halved", settings)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert journal_values(tmp_path / "whole") == journal_values(tmp_path / "halved")
    other, _ = trained(tmp_path / "all rows", SETTINGS)
    assert not torch.equal(whole.tower.weight, other.tower.weight)  # pyright: ignore[reportArgumentType]


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path):
    first, _ = trained(tmp_path / "a")
    second, _ = trained(tmp_path / "b")
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    assert journal_values(tmp_path / "a") == journal_values(tmp_path / "b")
    model, optimizers = built()
    fit(model, optimizers, OBJECTIVE, (TRAIN, VALID), SCHEMA.tasks, SETTINGS, replace(place(tmp_path / "c"), seed=6))
    assert not torch.equal(model.tower.weight, first.tower.weight)


def signal_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> list[int]:
    """Send a signal at the so manieth measuring of losses; the list counts them."""
    calls = [0]
    measure = TaskLosses.__call__

    def counting(self: TaskLosses, *arguments: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] == moment:
            signal.raise_signal(signal.SIGINT)
        return measure(self, *arguments)

    monkeypatch.setattr(TaskLosses, "__call__", counting)
    return calls


@pytest.mark.parametrize("steps_before_the_signal", [1, 4, 7, 8, 20])
def test_interrupted_and_resumed_equals_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_before_the_signal: int
):
    whole, whole_progress = trained(tmp_path / "whole")
    calls = signal_at(monkeypatch, steps_before_the_signal)
    with pytest.raises(Interrupted):
        trained(tmp_path / "halved")
    assert calls == [steps_before_the_signal]
    resumed, progress = trained(tmp_path / "halved")
    # What the second process did not do again: exactly the steps before the signal.
    assert calls == [whole_progress.step]
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert journal_values(tmp_path / "whole") == journal_values(tmp_path / "halved")
    assert progress.best == whole_progress.best


@pytest.mark.parametrize("steps_before_the_signal", [4, 14, 20])
def test_what_a_balancing_remembers_outlives_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_before_the_signal: int
):
    """Weights by epochs, by gradients and by what a step has done: all three kinds of memory at once."""

    class All(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dwa = DynamicWeightAverage(tasks=SCHEMA.tasks, temperature=2.0)
            self.famo = FAMO(tasks=SCHEMA.tasks, lr=0.1, weight_decay=0.0)
            self.gradnorm = GradNorm(tasks=SCHEMA.tasks, asymmetry=1.5, lr=0.1)
            self.after_step, self.after_epoch = self.famo.after_step, self.dwa.after_epoch

        def forward(self, losses_T: Tensor, gramian: Gramian) -> Tensor:
            return sum(part(losses_T, gramian) for part in (self.dwa, self.famo, self.gradnorm))  # pyright: ignore

    def run(folder: Path) -> nn.Module:
        torch.manual_seed(7)
        objective = replace(OBJECTIVE, balance=All())
        return trained(folder, replace(SETTINGS, conflicts=True), Penalised(SCHEMA), objective=objective)[0]

    whole = run(tmp_path / "whole")
    signal_at(monkeypatch, 2 * steps_before_the_signal)  # each step measures twice
    with pytest.raises(Interrupted):
        run(tmp_path / "halved")
    resumed = run(tmp_path / "halved")
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))
    lines = journal_values(tmp_path / "whole")
    assert lines == journal_values(tmp_path / "halved")
    weights = [line["train/task0/weight"] for line in lines if "train/task0/weight" in line]
    assert len(set(weights)) == len(weights) > 8
    kept = torch.load(tmp_path / "halved" / "last.pt")["shared"]
    assert any(reached.any() for reached in kept.values()), "what was found to be shared is kept too"


def test_another_balancing_in_the_folder_is_refused(tmp_path: Path):
    trained(tmp_path, objective=replace(OBJECTIVE, balance=GradNorm(tasks=SCHEMA.tasks, asymmetry=1.5, lr=0.1)))
    with pytest.raises(CheckpointError, match=r"last\.pt holds another balancing"):
        trained(tmp_path, objective=replace(OBJECTIVE, balance=Uncertainty(tasks=SCHEMA.tasks, lr=0.1)))


def test_conflicts_are_journaled_and_change_nothing(tmp_path: Path):
    silent, _ = trained(tmp_path / "silent")
    asked, _ = trained(tmp_path / "asked", replace(SETTINGS, conflicts=True))
    assert all(torch.equal(p, q) for p, q in zip(silent.parameters(), asked.parameters(), strict=True))
    lines = journal_values(tmp_path / "asked")
    found = [line.pop("train/conflict/task0_task1", None) for line in lines]
    assert lines == journal_values(tmp_path / "silent")
    measured = [cosine for cosine in found if cosine is not None]
    assert len(measured) == 21 // 2
    assert all(-1 <= cosine <= 1 for cosine in measured)


def test_a_conflict_is_the_cosine_between_the_gradients_of_what_is_shared(tmp_path: Path):
    """Both towers read the same embeddings, which alone are shared."""

    class Quiet(Net):
        def __init__(self, schema: Schema) -> None:
            super().__init__(schema)
            self.dropout.p = 0.0

    settings = replace(SETTINGS, epochs=1, batch_size=101, log_steps=1, conflicts=True)
    torch.manual_seed(7)
    trained(tmp_path, settings, Quiet(SCHEMA))
    torch.manual_seed(7)
    model = Quiet(SCHEMA)
    batch = TRAIN.gather(torch.arange(101))
    assert batch.labels is not None
    gradients = [
        torch.autograd.grad(loss, model.embedding.weight, retain_graph=True)[0].to_dense().flatten()
        for loss in task_losses(model(batch), batch.labels)
    ]
    expected = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0).item()
    assert journal_values(tmp_path)[0]["train/conflict/task0_task1"] == pytest.approx(expected, rel=1e-4)


def test_a_conflict_without_a_gradient_is_undefined_with_its_reason(tmp_path: Path):
    unseen = replace(TRAIN, columns={**TRAIN.columns, "observed": torch.tensor([True, False]).expand(101, 2)})
    trained(tmp_path, replace(SETTINGS, epochs=1, conflicts=True), train=unseen)
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert "train/conflict/task0_task1" not in line["values"]
    assert "a gradient is zero" in line["undefined"]["train/conflict/task0_task1"]


def test_conflicts_of_one_task_are_refused(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"trainer\.conflicts=true compares the gradients of tasks, but there is only one"
    ):
        fit(*built(), OBJECTIVE, (TRAIN, VALID), SCHEMA.tasks[:1], replace(SETTINGS, conflicts=True), place(tmp_path))


def test_scores_are_corrected_for_the_weight_of_positives(tmp_path: Path):
    weighted = TaskLosses(pos_weight=torch.tensor([3.0, 40.0]), given=())
    model, _ = trained(tmp_path / "weighted", objective=replace(OBJECTIVE, losses=weighted))
    plain, corrected = (
        predict_log_odds(model, VALID, losses, SETTINGS, torch.device("cpu")) for losses in (OBJECTIVE.losses, weighted)
    )
    torch.testing.assert_close(corrected, plain - torch.tensor([3.0, 40.0]).log())
    lines = [line for line in journal_values(tmp_path / "weighted") if "valid/task1/logloss" in line]
    measured = evaluate(corrected, VALID.columns["labels"], None, SCHEMA.tasks).values
    assert lines[-1]["valid/task1/logloss"] == pytest.approx(measured["task1/logloss"])


def test_a_signal_during_validation_resumes_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained(tmp_path / "whole")
    gather = Rows.gather
    asked = []

    def signalling(self: Rows, index: Tensor) -> Batch:
        if self is VALID and not asked:
            asked.append(True)
            signal.raise_signal(signal.SIGTERM)
        return gather(self, index)

    monkeypatch.setattr(Rows, "gather", signalling)
    with pytest.raises(Interrupted):
        trained(tmp_path / "halved")
    trained(tmp_path / "halved")
    assert journal_values(tmp_path / "whole") == journal_values(tmp_path / "halved")


def test_a_killed_process_leaves_a_journal_that_is_cut_back(tmp_path: Path):
    trained(tmp_path / "whole")
    trained(tmp_path / "killed", replace(SETTINGS, epochs=2))
    # Lines that a process wrote after its last checkpoint, the last of them torn in the middle.
    with (tmp_path / "killed" / "metrics.jsonl").open("ab") as file:
        file.write(
            b'{"step": 14, "epoch": 2, "time": 1, "values": {"train/task0/loss": 9.0}, "undefined": {}}\n{"step": 1'
        )
    trained(tmp_path / "killed")
    assert journal_values(tmp_path / "whole") == journal_values(tmp_path / "killed")


def test_the_weights_of_the_best_validation_score_are_kept_not_the_last(tmp_path: Path):
    model, progress = trained(tmp_path, replace(SETTINGS, epochs=12))
    scores = [
        line["valid/task0/auc"] / 2 + line["valid/task1/auc"] / 2
        for line in journal_values(tmp_path)
        if "valid/task0/auc" in line
    ]
    best_epoch = max(range(12), key=scores.__getitem__)
    assert best_epoch < 11, "the toy must overfit, or this test shows nothing"
    assert progress.best == {"model": scores[best_epoch]}
    last = predict_log_odds(model, VALID, OBJECTIVE.losses, SETTINGS, torch.device("cpu"))
    kept, steps = load_best(model, SCHEMA.tasks, SETTINGS, tmp_path / "best.pt", "toy")
    assert kept is model
    assert steps == {"model": 7 * (best_epoch + 1)}
    selected = predict_log_odds(model, VALID, OBJECTIVE.losses, SETTINGS, torch.device("cpu"))
    assert not torch.equal(selected, last)
    measured = evaluate(selected, VALID.columns["labels"], None, SCHEMA.tasks).values
    assert (measured["task0/auc"] + measured["task1/auc"]) / 2 == pytest.approx(scores[best_epoch], abs=1e-12)


def test_training_stops_when_patience_is_exhausted(tmp_path: Path):
    _, progress = trained(tmp_path, replace(SETTINGS, epochs=50, patience=2))
    assert progress.epoch == progress.best_step["model"] // 7 + 2 < 50


class Copies(nn.Module):
    """Tasks that share nothing: each copy gives one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = nn.ModuleList(Net(plain_schema(tasks=1)) for _ in SCHEMA.tasks)

    def forward(self, batch: Batch) -> Tensor:
        return torch.cat([copy(batch) for copy in self.copies], dim=1)


@pytest.mark.parametrize("shared", [True, False])
def test_each_task_keeps_its_own_best_step_of_any_model_where_that_is_asked_for(tmp_path: Path, shared: bool):
    settings = replace(SETTINGS, epochs=12, checkpoint="task")
    torch.manual_seed(1)
    model, progress = trained(tmp_path, settings, model=None if shared else Copies())
    lines = [line for line in journal_values(tmp_path) if "valid/task0/auc" in line]
    for task in ("task0", "task1"):
        scores = [line[f"valid/{task}/auc"] for line in lines]
        assert progress.best[task] == max(scores)
        assert progress.best_step[task] == 7 * (scores.index(max(scores)) + 1)
    assert progress.best_step["task0"] != progress.best_step["task1"], "choose a seed for which they differ"
    kept, steps = load_best(model, SCHEMA.tasks, settings, tmp_path / "best.pt", "toy")
    assert steps == progress.best_step
    logits = predict_log_odds(kept, VALID, OBJECTIVE.losses, SETTINGS, torch.device("cpu"))
    assert logits.shape == (len(VALID), 2)
    measured = evaluate(logits, VALID.columns["labels"], None, SCHEMA.tasks).values
    assert {task: measured[f"{task}/auc"] for task in ("task0", "task1")} == pytest.approx(progress.best, abs=1e-12)


def test_a_conditional_task_is_multiplied_with_its_own_copys_probability(tmp_path: Path):
    """The validation score that selected a task's weights is the one that they give again."""
    losses = TaskLosses(pos_weight=torch.tensor([1.0, 3.0]), given=(None, 0))
    settings = replace(SETTINGS, epochs=12, checkpoint="task", select="logloss")
    model, progress = trained(tmp_path, settings, objective=replace(OBJECTIVE, losses=losses))
    assert len(set(progress.best_step.values())) == 2, "choose a seed for which they differ"
    kept, _ = load_best(model, SCHEMA.tasks, settings, tmp_path / "best.pt", "toy")
    logits = predict_log_odds(kept, VALID, losses, SETTINGS, torch.device("cpu"))
    measured = evaluate(logits, VALID.columns["labels"], None, SCHEMA.tasks).values
    assert {task: -measured[f"{task}/logloss"] for task in progress.best} == pytest.approx(progress.best, abs=1e-7)


def test_tasks_that_share_nothing_are_kept_at_one_step_by_default_like_any_model(tmp_path: Path):
    _, progress = trained(tmp_path, replace(SETTINGS, epochs=12), model=Copies())
    lines = [line for line in journal_values(tmp_path) if "valid/task0/auc" in line]
    means = [(line["valid/task0/auc"] + line["valid/task1/auc"]) / 2 for line in lines]
    assert progress.best == {"model": max(means)}
    assert progress.best_step == {"model": 7 * (means.index(max(means)) + 1)}
    _, first = trained(tmp_path / "one", replace(SETTINGS, epochs=12, select="task1/logloss"), model=Copies())
    assert list(first.best) == ["model"], "one task's metric may select for all, whatever they share"


def test_training_goes_on_until_no_task_gets_better_where_each_is_kept_by_itself(tmp_path: Path):
    _, progress = trained(tmp_path, replace(SETTINGS, epochs=50, patience=2, checkpoint="task"))
    assert progress.epoch == max(progress.best_step.values()) // 7 + 2 < 50


def test_a_score_that_is_higher_by_rounding_alone_is_no_better():
    from mtlbench.train.selection import Selected, Term, select

    progress, where = Progress(step=2, best={"model": 0.3}, best_step={"model": 1}, stale={"model": 0}), None
    unit = Selected(name="model", terms=(Term(metric="auc", tasks=("task0",)),))
    select(nn.Module(), (unit,), {"task0/auc": 0.1 + 0.2}, progress, where)  # pyright: ignore[reportArgumentType]
    assert (progress.best_step, progress.stale) == ({"model": 1}, {"model": 1})


def test_one_tasks_metric_cannot_select_where_each_task_has_its_own(tmp_path: Path):
    with pytest.raises(ValueError, match=r"trainer\.checkpoint=task each task is selected by its own.*select=auc"):
        trained(tmp_path, replace(SETTINGS, select="task0/auc", checkpoint="task"))
    with pytest.raises(ValueError, match=r"trainer\.checkpoint is 'epoch'; allowed: run, task"):
        replace(SETTINGS, checkpoint="epoch")  # pyright: ignore[reportArgumentType]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_task_and_step(tmp_path: Path):
    class Exploding(Net):
        def forward(self, batch: Batch) -> Tensor:
            logits = super().forward(batch)
            bad = self.training and bool((batch.row == 13).any())
            return logits * torch.tensor([1.0, float("nan") if bad else 1.0])

    position = order(len(TRAIN), 5, 0).tolist().index(13) // 16
    with pytest.raises(NonFiniteLossError, match=rf"task1/loss is nan in step {position + 1}; last finite"):
        trained(tmp_path, model=Exploding(SCHEMA))


def test_another_model_in_the_folder_is_refused(tmp_path: Path):
    trained(tmp_path)
    with pytest.raises(CheckpointError, match=r"last\.pt holds another model"):
        trained(tmp_path, model=Copies())
    with pytest.raises(CheckpointError, match=r"weights in .*best\.pt do not fit this"):
        load_best(Copies(), SCHEMA.tasks, SETTINGS, tmp_path / "best.pt", "toy")


def test_the_time_of_a_run_is_that_of_all_its_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    signal_at(monkeypatch, 4)
    with pytest.raises(Interrupted):
        trained(tmp_path)
    last = checkpoint.load(tmp_path / "last.pt", identity="toy")
    assert 0 < last["progress"]["spent"] < 60
    last["progress"]["spent"] = 1000.0
    checkpoint.save(tmp_path / "last.pt", last)
    assert 1000 < trained(tmp_path)[1].spent < 1060


def test_an_undefined_selection_metric_is_an_error(tmp_path: Path):
    one_class = replace(VALID, columns={**VALID.columns, "labels": torch.zeros_like(VALID.columns["labels"])})
    model, optimizers = built()
    with pytest.raises(ValueError, match="no validation auc is defined for task0, task1"):
        fit(model, optimizers, OBJECTIVE, (TRAIN, one_class), SCHEMA.tasks, SETTINGS, place(tmp_path))


@pytest.mark.parametrize("select", ["ouc", "task9/auc", "task0/"])
def test_an_unknown_selection_is_refused(tmp_path: Path, select: str):
    with pytest.raises(ValueError, match=r"trainer\.select is"):
        trained(tmp_path, replace(SETTINGS, select=select))


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (101, 16, [16] * 6 + [5]),
        (97, 16, [16] * 5 + [17]),
        (16, 16, [16]),
        (1, 16, [1]),
        (17, 16, [17]),
        (18, 16, [16, 2]),
    ],
)
def test_every_row_is_in_one_batch_and_none_is_alone(count: int, size: int, sizes: list[int]):
    bounds = batch_bounds(count, size)
    assert [stop - start for start, stop in bounds] == sizes
    assert [row for start, stop in bounds for row in range(start, stop)] == list(range(count))


def test_bf16_trains_close_to_fp32_and_keeps_fp32_weights(tmp_path: Path):
    full, _ = trained(tmp_path / "fp32")
    half, _ = trained(tmp_path / "bf16", replace(SETTINGS, precision="bf16"))
    assert all(p.dtype == torch.float32 for p in half.parameters())
    scores = [predict_log_odds(model, VALID, OBJECTIVE.losses, SETTINGS, torch.device("cpu")) for model in (full, half)]
    torch.testing.assert_close(scores[0], scores[1], atol=0.1, rtol=0)
    assert not torch.equal(scores[0], scores[1])


def test_clipping_bounds_the_dense_gradient(tmp_path: Path):
    free, _ = trained(tmp_path / "free", replace(SETTINGS, epochs=1))
    held, _ = trained(tmp_path / "held", replace(SETTINGS, epochs=1, clip=1e-9))
    started, _ = built()
    moved = [(m.tower.weight - started.tower.weight).abs().max().item() for m in (free, held)]
    assert moved[1] < moved[0]


class Penalised(Net):
    """Draws its weights together: a penalty of 0.5 * sum(w^2), stored in forward and taken once."""

    def forward(self, batch: Batch) -> Tensor:
        self._stored = 0.5 * self.tower.weight.square().sum() if self.training else None
        return super().forward(batch)

    def penalty(self) -> Tensor:
        stored, self._stored = self._stored, None
        assert stored is not None
        return stored


def test_a_penalty_joins_the_loss_and_the_journal(tmp_path: Path):
    """Its gradient is w, which is what weight decay of 1 adds: SGD with the one equals SGD with the other."""

    def run(model: nn.Module, folder: Path, decay: float) -> nn.Module:
        torch.manual_seed(7)
        model = type(model)(SCHEMA)
        optimizer = torch.optim.SGD(
            [{"params": [model.tower.weight], "weight_decay": decay}, {"params": [model.tower.bias]}], lr=0.05
        )
        fit(model, [optimizer], OBJECTIVE, (TRAIN, VALID), SCHEMA.tasks, SETTINGS, place(folder))
        return model

    penalised = run(Penalised(SCHEMA), tmp_path / "penalised", 0.0)
    decayed = run(Net(SCHEMA), tmp_path / "decayed", 1.0)
    torch.testing.assert_close(penalised.tower.weight, decayed.tower.weight, rtol=1e-5, atol=1e-6)
    first = journal_values(tmp_path / "penalised")[0]
    assert first["train/penalty/model"] > 0
    assert "train/penalty/model" not in journal_values(tmp_path / "decayed")[0]


def test_validation_knows_groups_and_weights_are_selected_by_them(tmp_path: Path):
    grouped = replace(VALID, columns={**VALID.columns, "group": torch.arange(67) % 13})
    model, optimizers = built()
    settings = replace(SETTINGS, select="task0/uauc")
    progress = fit(model, optimizers, OBJECTIVE, (TRAIN, grouped), SCHEMA.tasks, settings, place(tmp_path))
    found = [line for line in journal_values(tmp_path) if "valid/task0/uauc" in line]
    assert len(found) == SETTINGS.epochs
    best = max(found, key=lambda line: line["valid/task0/uauc"])
    assert progress.best == {"model": best["valid/task0/uauc"]}
    assert progress.best_step == {"model": best["step"]}
    assert all(line["valid/task0/groups"] == 13 for line in found)
    assert any(line["valid/task0/uauc"] != line["valid/task0/auc"] for line in found)
