"""Histories and interest: by hand, against a loop, and what padding, order and absence change (nothing)."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.nn.dice import Dice
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.histories import FieldsAndHistories, History
from mtlbench.nn.interest import ActivationUnit, Interests
from mtlbench.nn.time_vector import TimeVector
from mtlbench.schema import PADDING, Batch, Field, Schema, Task
from synthetic import plain_schema, random_batch, rich_schema

BATCH = random_batch(rich_schema(), 17)
NOTHING = torch.zeros(17, 0)


def history(lengths: list[int], width: int = 3, padding: int = 0, seed: int = 0) -> History:
    """Random entries, absent ones zero as embeddings of padding are."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(*lengths, 1)
    present_BL = torch.arange(longest + padding) < torch.tensor(lengths)[:, None]
    entry_BLD = torch.zeros(len(lengths), longest + padding, width, dtype=torch.float64)
    entry_BLD[:, :longest] = torch.randn(len(lengths), longest, width, generator=generator, dtype=torch.float64)
    target_BD = torch.randn(len(lengths), width, generator=generator, dtype=torch.float64)
    return History(entry_BLD * present_BL[..., None], present_BL, None, target_BD)


def interest(unit: ActivationUnit, past: History) -> Tensor:
    rows, entries, _ = past.entries.shape
    return unit(past, past.entries.new_zeros(rows, entries, 0), past.entries.new_zeros(rows, 0))


def unit(softmax: bool = False, activation: Any = "sigmoid", seed: int = 0) -> ActivationUnit:
    torch.manual_seed(seed)
    return ActivationUnit(3, 0, 0, (5, 4), activation, softmax).double()


# --- the activation unit


def test_hand_numbers():
    block = ActivationUnit(1, 0, 0, ())
    assert block.scores.head.bias is not None
    with torch.no_grad():
        block.scores.head.weight.copy_(torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(1, 4, 1))
        block.scores.head.bias.fill_(0.5)
    entry_BLD = torch.tensor([[[2.0], [3.0], [0.0]]])
    present_BL = torch.tensor([[True, True, False]])
    past = History(entry_BLD, present_BL, None, torch.tensor([[5.0]]))
    first = 2 + 50 + 100 * (2 - 5) + 1000 * 10 + 0.5
    second = 3 + 50 + 100 * (3 - 5) + 1000 * 15 + 0.5
    nothing = torch.zeros(1, 3, 0), torch.zeros(1, 0)
    torch.testing.assert_close(block.weights(past, *nothing), torch.tensor([[first, second, 0.0]]))
    torch.testing.assert_close(block(past, *nothing), torch.tensor([[2 * first + 3 * second]]))


@pytest.mark.parametrize("softmax", [False, True])
def test_the_unit_is_a_loop(softmax: bool):
    past = history([4, 0, 2])
    extra_BLX = torch.randn(3, 4, 2, dtype=torch.float64)
    context_BC = torch.randn(3, 1, dtype=torch.float64)
    block = ActivationUnit(3, 2, 1, (5, 4), "sigmoid", softmax).double()
    found = block(past, extra_BLX, context_BC)
    assert found.shape == (3, 5)
    for row, length in enumerate([4, 0, 2]):
        scores = []
        for place in range(length):
            s, c = past.entries[row, place], past.target[row]
            h = torch.cat([s, c, s - c, s * c, extra_BLX[row, place], context_BC[row]])
            for layer in block.scores.hidden.layers:
                h = torch.sigmoid(h @ layer.weight[0] + layer.bias[0])
            scores.append(h @ block.scores.head.weight[0, :, 0] + block.scores.head.bias[0, 0])
        weights = torch.stack(scores) if scores else torch.zeros(0, dtype=torch.float64)
        if softmax:
            weights = (weights / 3**0.5).softmax(dim=0)
        tokens = torch.cat([past.entries[row], extra_BLX[row]], dim=1)[:length]
        torch.testing.assert_close(found[row], weights @ tokens)


def test_attention_that_is_one_everywhere_is_a_sum():
    block, past = unit(), history([4, 0, 2])
    nn.init.zeros_(block.scores.head.weight)
    assert block.scores.head.bias is not None
    nn.init.ones_(block.scores.head.bias)
    torch.testing.assert_close(interest(block, past), past.entries.sum(dim=1))


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("activation", ["sigmoid", "dice"])
@pytest.mark.parametrize("training", [False, True])
def test_padding_and_order_change_nothing(softmax: bool, activation: str, training: bool):
    """In training too, where Dice takes statistics over the entries of the whole batch."""
    short, long, shuffled = (unit(softmax, activation).train(training) for _ in range(3))
    past = history([4, 0, 2, 3])
    expected = interest(short, past)
    torch.testing.assert_close(interest(long, history([4, 0, 2, 3], padding=5)), expected)
    order = torch.tensor([2, 0, 3, 1])
    other = History(past.entries[:, order], past.present[:, order], None, past.target)
    torch.testing.assert_close(interest(shuffled, other), expected)
    for name, value in short.state_dict().items():
        torch.testing.assert_close(long.state_dict()[name], value)


@pytest.mark.parametrize("softmax", [False, True])
def test_a_history_without_entries_shows_no_interest_and_teaches_nothing(softmax: bool):
    block, past = unit(softmax, "dice"), history([0, 0])
    target_BD = past.target.requires_grad_()
    found = interest(block, past)
    assert not found.count_nonzero()
    found.sum().backward()
    assert target_BD.grad is not None
    assert not target_BD.grad.count_nonzero()
    assert all(p.grad is None or not p.grad.count_nonzero() for p in block.parameters())


def test_softmaxed_weights_sum_to_one():
    weights = unit(softmax=True).weights(history([4, 1, 2]), torch.zeros(3, 4, 0).double(), torch.zeros(3, 0).double())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert weights[1].tolist() == [1, 0, 0, 0]


def padded(block: ActivationUnit, past: History, extra_BLX: Tensor, context_BC: Tensor) -> Tensor:
    """The weights by the plain formula, in which padding is scored too and then left out."""
    s, present = past.entries, past.present
    c, p = past.target[:, None].expand_as(s), context_BC[:, None].expand(-1, s.shape[1], -1)
    pair_BLI = torch.cat([s, c, s - c, s * c, extra_BLX, p], dim=-1)
    score_BL = block.scores(pair_BLI.flatten(0, 1)[None], present.flatten()).view(present.shape)
    if block.softmax:
        score_BL = (score_BL * s.shape[-1] ** -0.5).masked_fill(~present, -1e300).softmax(dim=-1)
    return score_BL * present


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("activation", ["sigmoid", "dice"])
@pytest.mark.parametrize("lengths", [[4, 0, 2, 3], [1, 0, 0, 0], [0, 0, 0, 0], [5, 5, 5, 5]])
def test_scoring_entries_alone_is_scoring_all_places(lengths: list[int], activation: Any, softmax: bool):
    """Weights, gradients and the statistics of Dice; to the last digits, since products are summed in another order."""
    results = []
    for way in (ActivationUnit.weights, padded):
        torch.manual_seed(1)
        block, past = ActivationUnit(3, 2, 1, (5, 4), activation, softmax).double().train(), history(lengths, padding=2)
        past.entries.requires_grad_()
        extra, context = torch.randn(4, past.present.shape[1], 2).double(), torch.randn(4, 1).double()
        weight_BL = way(block, past, extra, context)
        (weight_BL * torch.arange(1.0, 1 + weight_BL.numel()).view_as(weight_BL)).sum().backward()
        gradients = [past.entries.grad, *(p.grad for p in block.parameters())]
        results.append([weight_BL, *gradients, *block.buffers()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", ["sigmoid", "dice"])
@pytest.mark.parametrize("softmax", [False, True])
def test_gradients(activation: str, softmax: bool):
    block, past = unit(softmax, activation), history([3, 0, 1])

    def run(entry_BLD: Tensor, target_BD: Tensor) -> Tensor:
        return interest(block, past._replace(entries=entry_BLD, target=target_BD))

    assert torch.autograd.gradcheck(run, (past.entries.requires_grad_(), past.target.requires_grad_()))


# --- fields and histories


def test_histories_and_rows_by_hand():
    block = FieldsAndHistories(rich_schema(), 4)
    table = block.fields.embedding
    x_BFD, (past,) = block(BATCH)
    assert [field.name for field in block.rows] == ["item", "tags", "user", "price", "embedding"]
    assert x_BFD.shape == (17, 5, 4)
    schema = rich_schema()
    ids_BL = BATCH.ids[:, schema.slots["history"].start : schema.slots["history"].stop].long()
    torch.testing.assert_close(past.entries, table[ids_BL])
    assert torch.equal(past.present, ids_BL != PADDING)
    assert torch.equal(past.weights, BATCH.weights)
    torch.testing.assert_close(past.target, table[BATCH.ids[:, schema.slots["item"].start].long()])
    assert not past.entries[~past.present].count_nonzero()


def test_the_other_rows_are_those_of_all_fields():
    """Leaving histories out moves no other field, wherever bags and numbers stand."""
    for schema in (rich_schema(), plain_schema(history=5), plain_schema(history=5, numbers=2)):
        whole, block = FieldEmbedding(schema, 4), FieldsAndHistories(schema, 4)
        block.fields.load_state_dict(whole.state_dict())
        batch = random_batch(schema, 7)
        kept = [place for place, field in enumerate(schema.fields) if field.name != "history"]
        torch.testing.assert_close(block(batch)[0], whole(batch)[:, kept])


def test_a_bag_is_a_target_by_its_mean():
    schema = Schema(
        fields=(
            Field(name="scenario", cardinality=3),
            Field(name="intentions", cardinality=11, width=3, weighted=True),
            Field(name="history", cardinality=13, width=5, target="intentions", role="history"),
        ),
        tasks=(Task(name="click", label="click"),),
    )
    batch = random_batch(schema, 7)
    block = FieldsAndHistories(schema, 4)
    x_BFD, (past,) = block(batch)
    assert batch.weights is not None
    share = batch.weights / batch.weights.sum(dim=1, keepdim=True).clamp_min(1e-12)
    torch.testing.assert_close(
        past.target, (share[..., None] * block.fields.embedding[batch.ids[:, 1:4].long()]).sum(1)
    )
    assert torch.equal(past.target, x_BFD[:, 1])
    assert past.weights is None


def test_refusals_of_schemas():
    with pytest.raises(ValueError, match=r"needs a field with a target.*id0, id1.*dataset=aliccp dataset.fields=din"):
        FieldsAndHistories(plain_schema(), 4)
    fields = (
        Field(name="a", cardinality=3, width=2, target="b"),
        Field(name="b", cardinality=3, width=2, target="a"),
    )
    with pytest.raises(ValueError, match="history 'a' has the target 'b', which is a history too"):
        FieldsAndHistories(Schema(fields=fields, tasks=(Task(name="t", label="t"),)), 4)


# --- interests


class Front(nn.Module):
    """Fields and interests together."""

    def __init__(self, schema: Schema, **changes: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fields = FieldsAndHistories(schema, 4)
        units = partial(ActivationUnit, layers=(5,))
        self.interests = Interests(self.fields, 4, **({"units": units} | changes))

    def forward(self, batch: Batch) -> Tensor:
        return self.interests(*self.fields(batch))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        return self.interests.diagnostics(*self.fields(batch))


def front(schema: Schema | None = None, **changes: Any) -> Front:
    return Front(rich_schema() if schema is None else schema, **changes)


def test_each_history_has_a_unit_and_stands_behind_the_fields():
    schema = rich_schema()
    second = Field(name="seen", cardinality=13, width=5, table="users", vocabulary="item", target="item")
    fields = (*schema.fields[:4], second, *schema.fields[4:])
    schema = Schema(fields=fields, tasks=schema.tasks, source=3)
    model, batch = front(schema), random_batch(schema, 7)
    block = model.interests
    assert block.width == 5 * 4 + (4 + 1) + 4
    x_BI = model(batch)
    assert x_BI.shape == (7, block.width)
    x_BFD, histories = model.fields(batch)
    torch.testing.assert_close(x_BI[:, :20], x_BFD.flatten(1))
    first = block.units[0](histories[0], batch.weights[..., None], x_BFD.new_zeros(7, 0))
    second = block.units[1](histories[1], x_BFD.new_zeros(7, 5, 0), x_BFD.new_zeros(7, 0))
    torch.testing.assert_close(x_BI[:, 20:], torch.cat([first, second], dim=1))
    found = model.attention(batch)
    assert {name: tuple(weights.shape) for name, weights in found.items()} == {
        "attention/history": (7, 7),
        "attention/seen": (7, 5),
    }
    assert torch.equal(found["attention/seen"] != 0, histories[1].present)


def test_what_an_entrys_weight_becomes():
    assert BATCH.weights is not None
    for meaning, expected in (
        ("given", BATCH.weights[..., None]),
        ("log", (1 + BATCH.weights).log()[..., None]),
        ("days", TimeVector()(BATCH.weights)),
        ("none", BATCH.weights[..., None][..., :0]),
    ):
        model = front(history_weights=meaning)
        seen: list[Tensor] = []
        model.interests.units[0].register_forward_hook(lambda _, args, __, seen=seen: seen.append(args[1]))
        assert model(BATCH).shape == (17, 5 * 4 + 4 + expected.shape[-1])
        torch.testing.assert_close(seen[0], expected)


def test_a_place_is_seen_beside_every_entry():
    model = front(place_fields=("user",))
    assert model.interests.units[0].scores.hidden.layers[0].weight.shape == (1, 4 * 4 + 1 + 4, 5)
    assert model.interests.width == front().interests.width
    user = rich_schema().slots["user"].start
    ids = BATCH.ids.clone()
    ids[:, user] = ids[:, user].flip(0)
    elsewhere = replace(BATCH, ids=ids)
    for places, changes in ((("user",), True), ((), False)):
        model = front(place_fields=places)
        weights = [model.attention(batch)["attention/history"] for batch in (BATCH, elsewhere)]
        assert (not torch.equal(*weights)) == changes


def test_refusals():
    with pytest.raises(ValueError, match="history_weights is 'count'; allowed: given, log, days, none"):
        front(history_weights="count")
    for meaning, words in (("log", "counts"), ("days", "days since the event")):
        with pytest.raises(ValueError, match=rf"'history' have no weights to be taken as {words}; allowed"):
            front(plain_schema(history=5), history_weights=meaning)
    with pytest.raises(ValueError, match=r"place_fields has \['tags', 'where'\]; allowed: single-valued id fields"):
        front(place_fields=("tags", "where"))


def test_dice_in_the_attention_counts_entries_alone():
    model = front(units=partial(ActivationUnit, layers=(5,), activation="dice")).train()
    model(BATCH)
    (dice,) = [module for module in model.modules() if isinstance(module, Dice)]
    _, (past,) = model.fields(BATCH)
    entry, target = past.entries[past.present], past.target[past.present.nonzero()[:, 0]]
    assert past.weights is not None
    pair = torch.cat([entry, target, entry - target, entry * target, past.weights[past.present][:, None]], dim=1)
    layer = model.interests.units[0].scores.hidden.layers[0]
    torch.testing.assert_close(dice.mean[0], 0.1 * (pair @ layer.weight[0] + layer.bias[0]).mean(dim=0, keepdim=True))
