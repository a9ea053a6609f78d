"""PHN: parallel cross, field and deep branches with soft selection gates on their inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of
from mtlbench.nn.attention import AttentionResidual, FieldAttention
from mtlbench.nn.cross import CrossLayers
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.field import FieldLayers
from mtlbench.nn.heterogeneous import CrossChoice, Residual, cross_kinds
from mtlbench.nn.selection import SoftSelection, Squash
from mtlbench.nn.stacked import MLP, Towers
from mtlbench.schema import Batch, Schema


class PHN(nn.Module):
    """``z_b = G_b * MSA(x) + (1 - G_b) * x``, ``s = w . [cross(z_cross), field(z_field), MLP(z_deep)] + b``.

    A network with one logit; `mtlbench.models.single_task.SingleTask` makes a model from it.

    Args:
        schema: the fields.
        embedding_width: components of a field embedding.
        layers: widths of the deep branch's layers; without any it is the identity.
        cross_kind: layers of the cross branch, ``v2``, ``v1``, or both side by side, ``v1+v2``.
        cross_depth: number of cross layers.
        field_depth: number of field interaction layers.
        residual: where the "residual link with trainable parameters" is: ``layer``, in each cross and field layer;
            ``logit_skip``, a linear map of the raw fields in the logit; ``none``.
        attention_heads: of the self-attention over fields.
        attention_residual: ``none``, or ``autoint``.
        selection_squash: ``none``, or ``sigmoid``, which keeps G within (0, 1).
        selection_start: initial value of G.
        dropout: after every layer of the deep branch.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B]``.

    Raises:
        ValueError: an argument outside its allowed values.

    Paper: Su et al.: PHN: Parallel heterogeneous network with soft gating for CTR prediction, arXiv 2206.09184; what
    its abstract leaves open is taken from III-A of DEPHN, which extends it to several tasks.
    Departure: depths, heads, widths and initial values are our choice.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        cross_kind: CrossChoice = "v2",
        cross_depth: int = 2,
        field_depth: int = 2,
        residual: Residual = "layer",
        attention_heads: int = 2,
        attention_residual: AttentionResidual = "none",
        selection_squash: Squash = "none",
        selection_start: float = 0.5,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        one_of("cross_kind", cross_kind, CrossChoice)
        one_of("residual", residual, Residual)
        fields = len(schema.fields)
        inputs, trained = fields * embedding_width, residual == "layer"
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.attention = FieldAttention(embedding_width, attention_heads, attention_residual)
        self.selection = SoftSelection(3, inputs, selection_squash, selection_start)  # cross, field, deep
        self.cross = nn.ModuleList(
            CrossLayers(1, inputs, cross_depth, kind, trained_residual=trained) for kind in cross_kinds(cross_kind)
        )
        self.field = FieldLayers(1, fields, field_depth, trained_residual=trained)
        self.deep = MLP(inputs, layers, dropout)
        self.head = Towers(1, (len(self.cross) + 1) * inputs + self.deep.width, ())
        self.skip = Towers(1, inputs, (), bias=False) if residual == "logit_skip" else None

    def forward(self, batch: Batch) -> Tensor:
        x_BFD = self.fields(batch)
        cross_1BI, field_1BI, deep_1BI = self.selection(x_BFD, self.attention(x_BFD)).split(1)
        branches = [network(cross_1BI) for network in self.cross]
        branches.append(self.field(field_1BI.unflatten(-1, x_BFD.shape[1:])).flatten(2))
        branches.append(self.deep(deep_1BI[0])[None])
        logit_B1 = self.head(torch.cat(branches, dim=-1))
        if self.skip is not None:
            logit_B1 = logit_B1 + self.skip(x_BFD.flatten(1)[None])
        return logit_B1[:, 0]
