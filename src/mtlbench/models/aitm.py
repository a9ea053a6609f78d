"""AITM (adaptive information transfer): attention passes each task's representation on to the next task."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, not_empty
from mtlbench.distributed.sums import mean_of_counted
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.stacked import StackedLinear, StackedMLP, Towers
from mtlbench.nn.transfer import InformationTransfer
from mtlbench.schema import Batch, Schema, refuse_regression


class AITM(nn.Module):
    """``q_t = MLP_t(x)``, ``z_1 = q_1``, ``z_t = attention(relu(z_(t-1) W_t + b_t), q_t)``, ``s_t = w_t . z_t + b_t``.

    In training, the calibrator penalises a task that is more probable than the one before it: the (weighted) mean over
    rows of ``weight * sum_t max(p_t - p_(t-1), 0)``.

    Args:
        schema: the fields and tasks, in the order in which their events happen.
        embedding_width: components of a field embedding.
        layers: widths of each task's MLP; the last one is the width of z.
        calibrator_weight: weight of the penalty; 0 switches it off.
        shared_attention: whether all pairs of tasks share one attention module.
        dropout: after every hidden layer, and on the transferred information.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: no layers; a negative weight; a calibrator for tasks of which one is not the parent of the next, or
            for a regression task.

    Paper: Xi, Chen, Yan, Zhang, Zhu, Zhuang, Chen: Modeling the Sequential Dependence among Audience Multi-step
    Conversions with Multi-task Learning in Targeted Display Advertising (AITM), KDD 2021. The calibrator's weight: the
    authors' code has 0.6 and 0.3.
    Departure: one dropout for all layers, where the authors' code has one for each.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        calibrator_weight: float = 0.6,
        shared_attention: bool = True,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        not_empty("layers", layers, "widths of each task's MLP")
        at_least("calibrator_weight", calibrator_weight, 0)
        if calibrator_weight:
            refuse_regression(
                schema.tasks,
                f"calibrator_weight is {calibrator_weight}, but the calibrator compares probabilities",
                "Set model.calibrator_weight=0, or leave the task out",
            )
        for before, task in zip(schema.tasks, schema.tasks[1:], strict=False):
            if calibrator_weight and task.given != before.name:
                raise ValueError(
                    f"calibrator_weight is {calibrator_weight}, but task '{task.name}' is not given '{before.name}': "
                    "it may be the more probable of the two. Set model.calibrator_weight=0, or choose a data set in "
                    "which each task is conditional on the one before (aliccp)"
                )
        tasks = len(schema.tasks)
        self.calibrator_weight = calibrator_weight
        self.joint = calibrator_weight > 0  # the order is that of joint probabilities, see `GivenProducts`
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.bottoms = StackedMLP(tasks, len(schema.fields) * embedding_width, layers, dropout)
        width = self.bottoms.width
        self.told = nn.ModuleList(StackedLinear(1, width, width) for _ in schema.tasks[1:])
        pairs = min(1, tasks - 1) if shared_attention else tasks - 1
        self.attention = nn.ModuleList(InformationTransfer(width) for _ in range(pairs))
        self.dropout = nn.Dropout(dropout)
        self.heads = Towers(tasks, width, ())
        self._calibrator: Tensor | None = None

    def forward(self, batch: Batch) -> Tensor:
        logits_BT = self.heads(self._states(batch)[0])
        if self.training:
            p_BT = logits_BT.sigmoid()
            each_B, weight_B = (p_BT[:, 1:] - p_BT[:, :-1]).relu().sum(dim=1), batch.sample_weight
            self._calibrator = each_B.mean() if weight_B is None else mean_of_counted(each_B, weight_B)
        return logits_BT

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``attention`` ``[T - 1, B]``: weight of the transferred information, for each task but the first."""
        tokens = self._states(batch)[1]
        weights = [self._attention(pair).weights(token_UBH)[0] for pair, token_UBH in enumerate(tokens)]
        return {"attention": torch.stack(weights)} if weights else {}

    def _states(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """z of all tasks ``[T, B, H]``; for each but the first, its transferred and own representation to attend to."""
        q_TBH = self.bottoms(self.fields(batch).flatten(1)[None])
        z, tokens = [q_TBH[0]], []
        for pair, linear in enumerate(self.told):
            transferred_BH = self.dropout(torch.relu(linear(z[pair][None])))[0]
            tokens.append(torch.stack([transferred_BH, q_TBH[pair + 1]]))
            z.append(self._attention(pair)(tokens[pair]))
        return torch.stack(z), tokens

    def _attention(self, pair: int) -> InformationTransfer:
        attention = self.attention[pair % len(self.attention)]
        assert isinstance(attention, InformationTransfer)
        return attention

    def penalty(self) -> Tensor:
        """The calibrator's penalty of the last forward pass in training; the call clears it."""
        stored, self._calibrator = self._calibrator, None
        assert stored is not None, "a penalty is taken once after each forward pass in training"
        return self.calibrator_weight * stored
