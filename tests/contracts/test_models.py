"""What every model in ``conf/model`` must keep, whatever it is: found by globbing, judged by its behaviour.

A model whose rows or tasks depend on each other by design (batch statistics, a product of tasks) is told apart by a
property of the built model where there is one, and otherwise named in `ENTANGLED` with the reason.
"""

import copy
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from mtlbench.cli.compose import compose_cached, compose_group
from mtlbench.experiment.pretrained import embedding_tables
from mtlbench.losses import task_losses
from mtlbench.nn.dice import Dice
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.hard_concrete import HardConcrete
from mtlbench.schema import Batch, Schema
from synthetic import plain_schema, random_batch, rich_schema

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "model").glob("[!_]*.yaml"))
VIRTUAL_GRADIENTS = sorted(path.stem for path in (CONF / "virtual_gradient").glob("[!_]*.yaml"))

SMALL = (
    "profile.embedding_width=4",
    "profile.deep_layers=[13,7]",
    "profile.bottom_layers=[13,7]",
    "profile.expert_layers=[13,7]",
    "profile.tower_layers=[5]",
)
DIVIDING: dict[str, tuple[str, ...]] = {
    "mpa_combined": ("model.interaction_heads=7",),
    "mpa_interact": ("model.interaction_heads=7",),
}
"""Heads that divide the width of the small experts."""
ENTANGLED: dict[str, str] = {
    "adatt": "a task's gate mixes the experts of every task",
    "aitm": "a task is told what the one before it knows",
    "cross_stitch": "every layer mixes the tasks",
    "dcrnn": "tasks stand in an order: windows overlap with those of neighbours",
    "escm2": "a product of towers",
    "esmm": "a product of towers",
    "mssm": "own and shared sub-networks are one stack of T + 1; isolation is tested with the model",
    "mssm_a": "own and shared sub-networks are one stack of T + 1; isolation is tested with the model",
    "ple": "the shared state of a level carries what every task's experts say",
    "sluice": "every layer mixes the tasks",
    "stem": "a task's gate mixes the experts of every task",
}
"""Models in which a task's own parameters rightly reach another task's logit, with the reason."""
ASKS: dict[str, dict[str, int]] = {
    "din": {"history": 5},
    "mpa_cognitive": {"source": 3},
    "mpa_combined": {"history": 5, "source": 3},
    "mpa_sequence": {"history": 5},
}
"""What a model asks for beside single ids; see `plain_schema`."""
BINARY = {"aitm": "calibrator", "escm2": "product of probabilities", "esmm": "product of probabilities"}
"""Models whose mathematics is that of probabilities, and how their refusal of a regression task begins."""
ADVERSARY = "*discriminator*"
"""Parameters that reach no logit: they learn from a penalty alone."""

every_model = pytest.mark.parametrize("name", NAMES)
dynamo_looks_at_gradients = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@cache
def composed(*overrides: str) -> DictConfig:
    """Composed once for all tests, none of which may change it."""
    config, _ = compose_cached([*overrides])
    OmegaConf.set_readonly(config, True)
    return config


def build(name: str, schema: Schema, *overrides: str, seed: int = 0) -> nn.Module:
    """The model as configured, for tasks each of which is given the one before it: there are models that ask for it."""
    bent = [word for word in overrides if word.startswith("virtual_gradient=")]
    values = [word for word in overrides if word not in bent]
    config = composed(f"model={name}", *SMALL, *DIVIDING.get(name, ()), *values)
    virtual_gradient = composed(*bent).virtual_gradient if bent else config.virtual_gradient  # it refers to no model
    names = [None, *(task.name for task in schema.tasks)]
    tasks = tuple(
        task if task.kind == "regression" else replace(task, given=given)
        for task, given in zip(schema.tasks, names, strict=False)
    )
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {"schema": replace(schema, tasks=tasks)}
    if virtual_gradient._target_ is not None:
        arguments["virtual_gradient"] = instantiate(virtual_gradient)()
    return instantiate(config.model)(**arguments)


def target_of(name: str) -> type[nn.Module]:
    module, _, attribute = _all_models()[name]._target_.rpartition(".")
    return getattr(import_module(module), attribute)


@cache
def _all_models() -> DictConfig:
    return compose_group("model")


def plain(name: str, **sizes: int) -> Schema:
    """A plain schema, with what the model asks for."""
    return plain_schema(**sizes, **ASKS.get(name, {}))


GATED = [name for name in NAMES if "virtual_gradient" in inspect.signature(target_of(name)).parameters]


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    return F.binary_cross_entropy_with_logits(model(batch).float(), batch.labels)


def whole_loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """With the terms that blocks add, as the training loop does."""
    return loss_of(model, batch) + penalties_of(model)


def penalties_of(model: nn.Module) -> Tensor:
    return torch.stack([torch.zeros(()), *(m.penalty() for m in model.modules() if hasattr(m, "penalty"))]).sum()


def uses_batch_statistics(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm | Dice) for module in model.modules())


def tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that can be reached from a module's attributes, registered or not."""
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            yield from _tensors(f"{prefix}.{name}", value)


def _tensors(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _tensors(f"{name}.{key}", each)
    elif isinstance(value, list | tuple | set):
        for place, each in enumerate(value):
            yield from _tensors(f"{name}.{place}", each)


def test_everything_is_found():
    assert len(NAMES) >= 40
    assert len(VIRTUAL_GRADIENTS) == 9
    assert {"mmoe", "mtphn", "dephn"} <= set(GATED)
    assert set(ENTANGLED) <= set(NAMES)


@every_model
def test_first_comment_says_what_it_is(name: str):
    first = (CONF / "model" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# "), f"conf/model/{name}.yaml begins with '# ', then title, authors, venue and page"
    assert len(first) > 20, f"the first comment of conf/model/{name}.yaml is too short for a title and authors: {first}"


@every_model
def test_docstring_says_what_the_model_is(name: str):
    model = target_of(name)
    text = inspect.getdoc(model) or ""
    lacking = [label for label in ("Args:", "Shape:", "Paper:", "Departure:") if label not in text]
    assert not lacking, (
        f"the docstring of {model.__name__} in {inspect.getsourcefile(model)} lacks {', '.join(lacking)}; a model "
        "that is in no paper says whose it is ('Paper: none; ours.'), one that departs from nothing 'Departure: none.'"
    )


@every_model
def test_configuration_and_signature_agree(name: str):
    """Every hyper-parameter can be set from the command line, and a default is the same wherever it stands."""
    config = composed(f"model={name}").model
    nodes = [config, *(node for node in config.values() if isinstance(node, DictConfig) and "_target_" in node)]
    for node in nodes:
        module, _, attribute = node._target_.rpartition(".")
        parameters = inspect.signature(getattr(import_module(module), attribute)).parameters
        assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        keys = [key for key in node if not key.startswith("_")]
        assert set(keys) == set(parameters) - {"schema", "virtual_gradient"}
        values = OmegaConf.to_container(node, resolve=False)
        own_file = "defaults:" not in (CONF / "model" / f"{name}.yaml").read_text().replace("override /", "")
        for key in keys:
            default = parameters[key].default
            written = values[key]
            if own_file and default is not inspect.Parameter.empty and not str(written).startswith("${"):
                assert written == (list(default) if isinstance(default, tuple) else default), key


@every_model
def test_an_unknown_hyper_parameter_is_refused(name: str):
    with pytest.raises(ConfigCompositionException, match="nonsense"):
        composed(f"model={name}", "model.nonsense=1")
    with pytest.raises(Exception, match="nonsense"):
        build(name, plain_schema(), "+model.nonsense=1")


def test_models_choose_their_virtual_gradient_and_the_command_line_wins():
    assert composed("model=mmoe").virtual_gradient._target_ is None
    assert composed("model=dephn").virtual_gradient.shape == "sqrt"
    assert composed("model=dephn").virtual_gradient.interaction == "add"
    assert composed("model=dephn", "virtual_gradient=mul_cos").virtual_gradient.shape == "cos"
    assert composed("model=dephn", "virtual_gradient=none").virtual_gradient._target_ is None


@pytest.mark.parametrize("virtual_gradient", VIRTUAL_GRADIENTS)
@pytest.mark.parametrize("name", GATED)
def test_a_gated_model_takes_every_virtual_gradient(name: str, virtual_gradient: str):
    chosen = f"virtual_gradient={virtual_gradient}"
    if composed(f"model={name}").model.get("shared_gate") and virtual_gradient != "none":
        with pytest.raises(Exception, match="Choose virtual_gradient=none"):
            build(name, plain(name), chosen)
        return
    model = build(name, plain(name), chosen).train()
    whole_loss_of(model, random_batch(plain(name), 31)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_model
@pytest.mark.parametrize("kind", ["plain", "rich", "one task"])
def test_logits_of_every_batch_size(name: str, kind: str):
    schema = {"plain": plain(name), "rich": rich_schema(3), "one task": plain(name, tasks=1, numbers=2)}[kind]
    model = build(name, schema)
    for rows in (1, 2, 7):
        batch = random_batch(schema, rows)
        logits = model.eval()(batch)
        assert logits.shape == (rows, len(schema.tasks))
        assert logits.isfinite().all()
        if rows > 1 or not uses_batch_statistics(model):
            assert model.train()(batch).shape == (rows, len(schema.tasks))


@every_model
def test_every_parameter_is_registered_and_learns(name: str):
    schema = rich_schema(3)
    model = build(name, schema)
    registered = {id(p) for p in model.parameters()}
    assert all(id(t) in registered for _, t in tensors_of(model) if isinstance(t, nn.Parameter))
    loss_of(model, random_batch(schema, 31)).backward(retain_graph=True)
    if adversaries := [n for n, p in model.named_parameters() if p.grad is None]:
        assert all(fnmatch(n, ADVERSARY) for n in adversaries), adversaries
        penalties_of(model).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.count_nonzero(), parameter_name


@every_model
def test_a_step_on_tasks_of_both_kinds(name: str):
    """A binary and a regression task, masked labels among them, or the reason why there is none."""
    schema = rich_schema(2)
    schema = replace(schema, tasks=(schema.tasks[0], replace(schema.tasks[1], kind="regression")))
    without = ("virtual_gradient=none",) * (name in GATED)
    if name in BINARY:
        with pytest.raises(Exception, match=f"{BINARY[name]}.*task1 is a regression task"):
            build(name, schema)
        return
    model = build(name, schema, *without).train()
    batch = random_batch(schema, 31)
    assert batch.labels is not None
    numbers = torch.stack([batch.labels[:, 0], torch.linspace(-2, 2, 31)], dim=1)
    observed = torch.rand(31, 2, generator=torch.Generator().manual_seed(1)) < 0.8
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def losses() -> Tensor:
        return task_losses(model(_with_labels(batch, numbers)), numbers, observed, regression=(1,))

    before = losses()
    (before.sum() + penalties_of(model)).backward()
    learning = [p for n, p in model.named_parameters() if not fnmatch(n, ADVERSARY)]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learning)
    optimizer.step()
    assert losses().isfinite().all()
    assert before[1] > 0.1, "labels of deviation 1 are not known before training"


@every_model
def test_moving_a_model_leaves_no_tensor_behind(name: str):
    model = build(name, rich_schema()).to("meta")
    assert [tensor_name for tensor_name, tensor in tensors_of(model) if tensor.device.type != "meta"] == []


@every_model
def test_evaluation_judges_each_row_by_itself(name: str):
    schema = rich_schema(3)
    model = build(name, schema).eval()
    batch = random_batch(schema, 7)
    logits = model(batch)
    assert torch.equal(model(batch), logits)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(model(rows_of(batch, order)), logits[order], rtol=1e-5, atol=1e-6)
    for row in range(7):
        torch.testing.assert_close(model(rows_of(batch, torch.tensor([row])))[0], logits[row], rtol=1e-5, atol=1e-6)


@every_model
def test_labels_never_reach_the_logits(name: str):
    schema = rich_schema(3)
    model = build(name, schema)
    batch = random_batch(schema, 31)
    assert batch.labels is not None
    torch.manual_seed(1)
    logits = model.train()(batch)
    torch.manual_seed(1)
    other = model(_with_labels(batch, batch.labels.flip(0)))
    assert torch.equal(logits, other)
    model.eval()
    assert torch.equal(model(batch), model(batch.unlabelled()))


@every_model
def test_saved_and_loaded_is_the_same(name: str, tmp_path: Path):
    schema = rich_schema()
    model, other = build(name, schema), build(name, schema, seed=1)
    batch = random_batch(schema, 13)
    loss_of(model.train(), batch)  # whatever a forward pass in training stores
    assert not torch.equal(model.eval()(batch), other.eval()(batch))
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(model(batch), other(batch))
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@every_model
def test_precisions_agree(name: str):
    schema = rich_schema()
    model = build(name, schema).eval()
    batch = random_batch(schema, 31)
    logits = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(batch)
    assert rough.dtype == torch.float32, "logits of eight bits would tie scores that differ"
    torch.testing.assert_close(rough, logits, rtol=0.05, atol=0.05)
    exact = copy.deepcopy(model).double()(batch)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(logits.double(), exact, rtol=1e-4, atol=1e-5)


@every_model
def test_sixty_four_rows_are_learnt_by_heart(name: str):
    schema = plain(name, cardinality=31)
    model = build(name, schema, "profile.tower_layers=[13]").train()  # of five units, too many may die
    batch = random_batch(schema, 64)
    assert batch.labels is not None
    batch = replace(batch, labels=batch.labels.cumprod(dim=1))  # no conversion without a click
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses: list[float] = []
    while len(losses) < 150 and min(losses, default=1) > 0.05:
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.05


@every_model
def test_parameters_are_told_apart_by_name(name: str):
    model = build(name, rich_schema())
    tables = {id(module.embedding) for module in model.modules() if isinstance(module, FieldEmbedding)}
    assert tables
    assert {id(p) for n, p in model.named_parameters() if fnmatch(n, "*embedding*")} == tables
    gates = [n for n, _ in model.named_parameters() if fnmatch(n, "*gate*")]
    assert gates or name not in GATED


@every_model
def test_values_outside_the_vocabulary_start_without_effect(name: str):
    schema = rich_schema()
    model = build(name, schema)
    tables = [module for module in model.modules() if isinstance(module, FieldEmbedding)]
    for table in tables:
        assert not table.embedding[list(schema.unknown_rows)].count_nonzero()
    assert any(table.embedding.count_nonzero() for table in tables)


@every_model
def test_sparse_gradients_are_the_dense_ones(name: str):
    schema = rich_schema()
    dense, sparse = build(name, schema), build(name, schema)
    for module in sparse.modules():
        if isinstance(module, FieldEmbedding):
            module.sparse = True
    batch = random_batch(schema, 31)
    for model in (dense, sparse):
        torch.manual_seed(1)  # the same noise for both
        whole_loss_of(model, batch).backward()
    for (parameter_name, p), q in zip(dense.named_parameters(), sparse.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert q.grad.is_sparse == fnmatch(parameter_name, "*embedding*")
        torch.testing.assert_close(q.grad.to_dense(), p.grad, rtol=1e-5, atol=1e-7)


@every_model
def test_every_parameter_belongs_to_one_task_or_to_all(name: str):
    if name in ENTANGLED:
        pytest.skip(ENTANGLED[name])
    schema = plain(name, tasks=3)
    model = build(name, schema, "profile.experts=4").eval()
    owners = {n: _owner(gradients) for n, gradients in _gradients_by_task(model, schema).items()}
    private = {n for n, owner in owners.items() if owner != "all"}
    assert private


@every_model
def test_tasks_can_be_renamed(name: str):
    """Exchanging the tasks' own parameters exchanges their logits, and changes nothing else."""
    if name in ENTANGLED:
        pytest.skip(ENTANGLED[name])
    schema = plain(name, tasks=3)
    model, exchanged = (build(name, schema, "profile.experts=4").eval() for _ in range(2))
    order = [2, 0, 1]
    state = model.state_dict()
    for parameter_name, gradients in _gradients_by_task(model, schema).items():
        owner, value = _owner(gradients), model.state_dict()[parameter_name]
        if owner == "stacked":
            parts = value.chunk(3)
            state[parameter_name] = torch.cat([parts[task] for task in order])
        elif isinstance(owner, int):
            partner, found = re.subn(rf"\.{owner}\.", f".{order[owner]}.", parameter_name, count=1)
            assert found == 1
            state[parameter_name] = model.state_dict()[partner]
    exchanged.load_state_dict(state)
    batch = random_batch(schema, 7)
    torch.testing.assert_close(exchanged(batch), model(batch)[:, order], rtol=1e-5, atol=1e-6)


@dynamo_looks_at_gradients
@every_model
def test_only_the_embeddings_break_the_graph(name: str):
    schema = rich_schema()
    model = build(name, schema, "profile.experts=2").train()  # what is traced for two is traced for more
    tables = sum(isinstance(module, FieldEmbedding) for module in model.modules())
    torch._dynamo.reset()
    found = torch._dynamo.explain(model)(random_batch(schema, 31))
    assert found.graph_break_count <= tables, [str(reason.reason) for reason in found.break_reasons]


@dynamo_looks_at_gradients
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # inductor imports one
@pytest.mark.long
@every_model
def test_compiled_is_eager(name: str):
    schema = rich_schema()
    eager, compiled = build(name, schema), build(name, schema)
    for module in (*eager.modules(), *compiled.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # a compiled graph draws other numbers
        if isinstance(module, HardConcrete):
            module.force = "ones"
    torch._dynamo.reset()
    run = torch.compile(compiled)
    batch = random_batch(schema, 31)
    for _ in range(2):
        whole_loss_of(eager, batch).backward()
        loss = F.binary_cross_entropy_with_logits(run(batch), batch.labels)
        (loss + penalties_of(compiled)).backward()
    torch.testing.assert_close(run(batch), eager(batch), rtol=1e-5, atol=1e-5)
    for (parameter_name, p), q in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-4, atol=1e-5, msg=parameter_name)
    for key, value in eager.named_buffers():
        torch.testing.assert_close(dict(compiled.named_buffers())[key], value, rtol=1e-5, atol=1e-6)


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    values = {name: getattr(batch, name) for name in batch.__slots__}
    return Batch(**{name: None if value is None else value[rows] for name, value in values.items()})


def _with_labels(batch: Batch, labels: Tensor) -> Batch:
    return Batch(**{name: labels if name == "labels" else getattr(batch, name) for name in batch.__slots__})


def _gradients_by_task(model: nn.Module, schema: Schema) -> dict[str, list[Tensor]]:
    """Gradient of each task's logits in each parameter, weighed at random so that nothing cancels."""
    logits = model(random_batch(schema, 101))
    weights = torch.rand(101, generator=torch.Generator().manual_seed(3))
    learning = [(n, p) for n, p in model.named_parameters() if not fnmatch(n, ADVERSARY)]
    names, parameters = zip(*learning, strict=True)
    by_task = [
        torch.autograd.grad((logits[:, task] * weights).sum(), parameters, retain_graph=True, materialize_grads=True)
        for task in range(len(schema.tasks))
    ]
    return {name: [gradients[place] for gradients in by_task] for place, name in enumerate(names)}


def _owner(gradients: list[Tensor]) -> str | int:
    """``stacked``: equal parts, one per task; a task; or ``all``."""
    tasks = len(gradients)
    if gradients[0].shape[0] % tasks == 0:
        reaches = [[bool(part.count_nonzero()) for part in gradient.chunk(tasks)] for gradient in gradients]
        if reaches == [[task == part for part in range(tasks)] for task in range(tasks)]:
            return "stacked"
    touched = [task for task, gradient in enumerate(gradients) if gradient.count_nonzero()]
    if len(touched) == 1:
        return touched[0]
    assert len(touched) == tasks, f"reached by tasks {touched} alone"
    return "all"


@every_model
@pytest.mark.parametrize("own", [3, pytest.param(4, marks=pytest.mark.long)], ids=["projected", "as wide"])
def test_pretrained_vectors_are_read_by_every_model(name: str, own: int):
    """A model with vectors scores as one whose tables hold them; frozen, they get no gradient."""
    schema = plain(name)
    model, fresh = build(name, schema), build(name, schema)
    field = schema.id_fields[0]
    rows = schema.offsets[field.name] + torch.arange(1, field.cardinality)
    tables = embedding_tables(model)
    assert tables
    for table in tables:
        table.add_vectors(rows, torch.randn(len(rows), own), frozen=True)
    batch = random_batch(schema, 17)
    whole_loss_of(model, batch).backward()
    assert all(vectors.embedding.grad is None for table in tables for vectors in table.pretrained)
    without = build(name, schema)
    without.load_state_dict({key: value for key, value in model.state_dict().items() if "pretrained" not in key})
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        scores, same, others = (each.eval()(batch.unlabelled()) for each in (model, fresh, without))
    assert torch.allclose(scores, same, atol=1e-5)
    assert not torch.allclose(scores, others, atol=1e-5)
