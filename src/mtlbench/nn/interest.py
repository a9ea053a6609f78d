"""DIN attention: weighs history entries by relevance to the candidate."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of
from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.histories import FieldsAndHistories, History
from mtlbench.nn.stacked import Towers
from mtlbench.nn.time_vector import TimeVector

HistoryWeights = Literal["given", "log", "days", "none"]


class ActivationUnit(nn.Module):
    """``v = sum_i a_i [S_i ; w_i]`` with ``a_i = MLP([S_i ; c ; S_i - c ; S_i * c ; w_i ; p])`` over the entries i.

    S_i is an entry of the history, c the candidate, w_i further features of the entry (a count, its age) and p features
    of the row (its place). Absent entries are ignored, in the statistics of Dice too; a history without entries gives
    0.

    Shape: `History` of B rows and L entries, w ``[B, L, X]``, p ``[B, C]`` -> v ``[B, D + X]``.

    Args:
        width: D.
        extras: X, 0 or more.
        context: C, 0 or more.
        layers: widths of the MLP's hidden layers; one output follows.
        activation: after each of them.
        softmax: whether the a_i of a row are a softmax over its entries, of scores divided by sqrt(D).

    Paper: Zhou et al., DIN, KDD 2018, Eq. 3: no softmax, which keeps the strength of an interest. The softmax, with its
    scale, is in the authors' code.
    Departure: S_i - c and S_i * c in place of the paper's outer product, as in the authors' code.
    """

    def __init__(
        self,
        width: int,
        extras: int,
        context: int,
        layers: Sequence[int],
        activation: LayerActivation = "sigmoid",
        softmax: bool = False,
    ) -> None:
        super().__init__()
        self.scores = Towers(1, 4 * width + extras + context, layers, activation=activation)
        self.softmax = softmax

    def weights(self, history: History, extra_BLX: Tensor, context_BC: Tensor) -> Tensor:
        """a ``[B, L]``, 0 where there is no entry."""
        entry_BLD, present_BL = history.entries, history.present
        at_N, counted_N = _looked_at(present_BL)
        row_N = at_N // present_BL.shape[1]
        entry_ND, extra_NX = (x_BLI.flatten(0, 1).index_select(0, at_N) for x_BLI in (entry_BLD, extra_BLX))
        target_ND, context_NC = (x_BI.index_select(0, row_N) for x_BI in (history.target, context_BC))
        pair_NI = torch.cat(
            [entry_ND, target_ND, entry_ND - target_ND, entry_ND * target_ND, extra_NX, context_NC], dim=-1
        )
        score_N = self.scores(pair_NI[None], counted_N)[:, 0]
        score_BL = score_N.new_zeros(present_BL.numel()).index_put((at_N,), score_N).view(present_BL.shape)
        if self.softmax:
            # Not minus infinity, with which a row without entries would be 0 / 0.
            least = torch.finfo(score_BL.dtype).min
            score_BL = torch.softmax((score_BL * entry_BLD.shape[-1] ** -0.5).masked_fill(~present_BL, least), dim=-1)
        return torch.where(present_BL, score_BL, 0)

    def forward(self, history: History, extra_BLX: Tensor, context_BC: Tensor) -> Tensor:
        token_BLM = torch.cat([history.entries, extra_BLX], dim=-1)
        return torch.einsum("bl,blm->bm", self.weights(history, extra_BLX, context_BC), token_BLM)


def _looked_at(present_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the B * L places are scored, int64 ``[N]``, and which of those count: the entries, and no padding.

    Leaving padding out is faster on the CPU, but makes shapes depend on the data. A compiled or exported graph cannot
    have that, and any other device would have to wait for the host to learn how many entries there are; both score all
    places.
    """
    present_N = present_BL.flatten()
    if torch.compiler.is_compiling() or present_N.device.type != "cpu":
        return torch.arange(present_N.shape[0], device=present_N.device), present_N
    at_N = present_N.nonzero()[:, 0]
    return at_N, torch.ones_like(at_N, dtype=torch.bool)


class Interests(nn.Module):
    """``[fields that are not histories ; v_1 ; ... ; v_n]``, an `ActivationUnit` for each of n histories.

    Shape: the outputs of `FieldsAndHistories`, ``[B, F, D]`` and n of `History` -> ``[B, width]``.

    Args:
        fields: embeds them.
        embedding_width: D.
        units: called with the widths of an embedding, of an entry's further features, and of a row's features.
        history_weights: what an entry's weight means, and what feature it gives: ``given``: the weight itself; ``log``:
            log(1 + n) of a count n; ``days``: a `TimeVector` of the days since the event; ``none``: nothing. Ali-CCP's
            files mostly hold log(1 + n) already, and so does the output of IJCAI-15's reader; ``log`` is for bags of
            raw counts. Where weights are days, `prepare` must not have cut any bag: it keeps the heaviest entries,
            which would be the oldest.
        time: the function of the days.
        place_fields: names of single-valued id fields that describe the row's place (spatial information).

    Attributes:
        width: of the output.

    Raises:
        ValueError: weights that a history does not have, or an unknown meaning of them; a place that is not a
            single-valued id field.

    Departure: no data set says where the events of a history took place, so the row's place is used for both the entry
    and the candidate.
    """

    _places: Tensor

    def __init__(
        self,
        fields: FieldsAndHistories,
        embedding_width: int,
        units: Callable[[int, int, int], ActivationUnit],
        history_weights: HistoryWeights = "given",
        time: TimeVector | None = None,
        place_fields: Sequence[str] = (),
    ) -> None:
        super().__init__()
        one_of("history_weights", history_weights, HistoryWeights)
        for field in fields.histories:
            if history_weights in ("log", "days") and not field.weighted:
                raise ValueError(
                    f"history_weights is {history_weights}, but the entries of history '{field.name}' have no "
                    f"weights to be taken as {'counts' if history_weights == 'log' else 'days since the event'}; "
                    "allowed: given, none"
                )
        singles = {f.name: place for place, f in enumerate(fields.rows) if f.kind == "id" and f.width == 1}
        if unknown := [name for name in place_fields if name not in singles]:
            raise ValueError(f"place_fields has {unknown}; allowed: single-valued id fields, of {list(singles)}")
        self.names = [field.name for field in fields.histories]
        self.history_weights: HistoryWeights = history_weights
        self.time = (time or TimeVector()) if history_weights == "days" else None
        places = torch.tensor([singles[name] for name in place_fields], dtype=torch.int64)
        self.register_buffer("_places", places, persistent=False)
        extras = [self._extras(field.weighted) for field in fields.histories]
        context = len(places) * embedding_width
        self.units = nn.ModuleList(units(embedding_width, extra, context) for extra in extras)
        self.width = (len(fields.rows) + len(extras)) * embedding_width + sum(extras)

    def forward(self, x_BFD: Tensor, histories: Sequence[History]) -> Tensor:
        context_BC = self._context(x_BFD)
        interests = [
            unit(history, self._extra(history), context_BC) for unit, history in zip(self.units, histories, strict=True)
        ]
        return torch.cat([x_BFD.flatten(1), *interests], dim=1)

    def diagnostics(self, x_BFD: Tensor, histories: Sequence[History]) -> dict[str, Tensor]:
        """``attention/<history>`` ``[B, L]``: the weight of each entry, 0 where there is none."""
        found: dict[str, Tensor] = {}
        for name, unit, history in zip(self.names, self.units, histories, strict=True):
            assert isinstance(unit, ActivationUnit)
            found[f"attention/{name}"] = unit.weights(history, self._extra(history), self._context(x_BFD))
        return found

    def _context(self, x_BFD: Tensor) -> Tensor:
        """Features of the row ``[B, C]``: its place."""
        return x_BFD.index_select(1, self._places).flatten(1)

    def _extra(self, history: History) -> Tensor:
        """Features of each entry besides its embedding ``[B, L, X]``."""
        if history.weights is None or self.history_weights == "none":
            return history.entries[..., :0]
        weight_BL = history.weights.to(history.entries.dtype)
        if self.time is not None:
            return self.time(weight_BL)
        return (weight_BL.log1p() if self.history_weights == "log" else weight_BL)[..., None]

    def _extras(self, weighted: bool) -> int:
        """X of a history."""
        if not weighted or self.history_weights == "none":
            return 0
        return 1 if self.time is None else self.time.width
