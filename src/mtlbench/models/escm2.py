"""ESCM2: ESMM with counterfactual regularisation of the conversion tower (IPS or doubly robust)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.checks import at_least, in_range, one_of
from mtlbench.distributed.sums import mean_of_counted
from mtlbench.nn.counterfactual import doubly_robust_risk, inverse_propensity_risk
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.product import GivenProducts
from mtlbench.nn.stacked import Towers
from mtlbench.schema import Batch, Schema

Estimator = Literal["ips", "dr"]


class ESCM2(nn.Module):
    """Logits as `mtlbench.models.esmm.ESMM`; in training, a counterfactual risk for every task with a parent.

    The propensity of task t is the predicted probability of its parent, and gets no gradient from the risk; the risk is
    a mean over the rows where both labels are observed.

    Args:
        schema: the fields and tasks; `Task.given` names a task's parent.
        embedding_width: components of a field embedding.
        layers: widths of each tower's hidden layers; none makes it linear.
        estimator: ``ips``, inverse propensities, or ``dr``, doubly robust with a tower per risk that imputes losses.
        counterfactual_weight: of the risk; 0 with ``ips`` is ESMM.
        propensity_clip: the least propensity to divide by.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``, the log-odds of the products.

    Raises:
        ValueError: an unknown estimator, a weight or clip out of range; several tasks, none of which has a parent;
            a regression task; labels that are missing.

    Paper: Wang, Chang, Liu, Huang, Chen, Yu, Li, Chu: ESCM2: Entire Space Counterfactual Multi-Task Model, SIGIR 2022.
    Departure: any number of tasks. Imputed losses are softplus of a tower, so that none is negative. The weight of the
    product's loss is that of `balancing`.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        estimator: Estimator = "ips",
        counterfactual_weight: float = 0.1,
        propensity_clip: float = 0.01,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        one_of("estimator", estimator, Estimator)
        at_least("counterfactual_weight", counterfactual_weight, 0)
        in_range("propensity_clip", propensity_clip, gt=0, le=1)
        self.counterfactual_weight, self.propensity_clip = counterfactual_weight, propensity_clip
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.products = GivenProducts(schema)
        inputs = len(schema.fields) * embedding_width
        self.towers = Towers(len(schema.tasks), inputs, layers, dropout)
        self.pairs = [(task, given) for task, given in enumerate(self.products.given) if given is not None]
        self.imputation = Towers(len(self.pairs), inputs, layers, dropout) if estimator == "dr" and self.pairs else None
        self._risk: Tensor | None = None

    def forward(self, batch: Batch) -> Tensor:
        x_1BI = self.fields(batch).flatten(1)[None]
        own_BT = self.towers(x_1BI)
        logits_BT = self.products(own_BT)
        if self.training:
            # Labels enter only the penalty, never the logits.
            self._risk = (
                logits_BT.new_zeros(()) if batch.labels is None else self._risks(x_1BI, own_BT, logits_BT, batch)
            )
        return logits_BT

    def penalty(self) -> Tensor:
        """The weighted counterfactual risk of the last forward pass in training; the call clears it."""
        stored, self._risk = self._risk, None
        assert stored is not None, "a penalty is taken once after each forward pass in training"
        return self.counterfactual_weight * stored

    def _risks(self, x_1BI: Tensor, own_BT: Tensor, logits_BT: Tensor, batch: Batch) -> Tensor:
        assert batch.labels is not None
        imputed_BP = None if self.imputation is None else F.softplus(self.imputation(x_1BI))
        risk = logits_BT.new_zeros(())
        for pair, (task, given) in enumerate(self.pairs):
            counts_B = torch.ones_like(batch.labels[:, task], dtype=torch.bool)
            if batch.observed is not None:
                counts_B = batch.observed[:, task] & batch.observed[:, given]
            label_B, clicked_B = (torch.where(counts_B, batch.labels[:, t], 0.0) for t in (task, given))
            loss_B = F.binary_cross_entropy_with_logits(own_BT[:, task], label_B.to(own_BT.dtype), reduction="none")
            seen = (loss_B, clicked_B, logits_BT[:, given].sigmoid(), self.propensity_clip)
            each_B = (
                inverse_propensity_risk(*seen) if imputed_BP is None else doubly_robust_risk(*seen, imputed_BP[:, pair])
            )
            weight_B = batch.sample_weight
            risk = risk + mean_of_counted(each_B, counts_B if weight_B is None else weight_B.where(counts_B, 0))
        return risk
