"""Counterfactual risk of a conversion model: inverse propensity (IPS) and doubly robust (DR) estimates."""

from torch import Tensor


def inverse_propensity_risk(loss_B: Tensor, clicked_B: Tensor, propensity_B: Tensor, clip: float) -> Tensor:
    """``o l / p``: each clicked row counts as 1 / p rows, at most 1 / clip. Propensities get no gradient.

    Shape: losses l ``[B]``, clicks o ``[B]``, propensities p ``[B]`` -> ``[B]``, of which the mean is the risk.

    Args:
        clip: least propensity to divide by, above 0 and at most 1.

    Paper: Wang et al., ESCM2, SIGIR 2022, the inverse propensity score.
    Departure: the bound on 1 / p.
    """
    return clicked_B * loss_B / propensity_B.detach().clamp_min(clip)


def doubly_robust_risk(
    loss_B: Tensor, clicked_B: Tensor, propensity_B: Tensor, clip: float, imputed_B: Tensor
) -> Tensor:
    """``e + o (l - e) / p + o (l - e)^2 / p``: imputed losses e, corrected by the clicked rows, which also train e.

    Shape: as `inverse_propensity_risk`; imputed losses e ``[B]``.
    """
    error_B = loss_B - imputed_B
    return imputed_B + inverse_propensity_risk(error_B + error_B.square(), clicked_B, propensity_B, clip)
