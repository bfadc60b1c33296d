"""Group weights in training: interactions of a group that a model would otherwise learn too little from count for more.

Only training: nobody's list is made otherwise because of a gender in a profile. Which weights there are says config.json's
`training.group_weights`; how an algorithm takes a strength is its own business (`Recommender.weight_power`).

With w_u the weight of user u, ALS minimises Σ c (p − x·y)² with c = 1 + α w_u instead of 1 + α, and EASE Σ_u w_u |x_u − x_u B|² + λ|B|²,
so that G = XᵀDX + λI with D = diag(w). "balanced" weighs men and women so that both groups' interactions weigh the same together,
and all of them as much as before (λ keeps its meaning): with n_g the interactions of group g

    w_g = (n_M + n_F) / (2 n_g), at most MOST

the heuristic of King & Zeng, Logistic Regression in Rare Events Data, Political Analysis 9 (2001), section 4.2. Others, and users of
unknown gender, keep 1: a group of three must not weigh as much as all.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from models.measures.feedback import group_of
from models.recommenders.base import F64, I64, Rows

GroupWeights = (
    Mapping[str, float] | Literal["balanced"]
)  # group (M, F, other, unknown) → weight; who is not named has 1
MOST = 10.0  # a model of ten men and one woman must not be that woman's history


def of_users(genders: Sequence[str | None], interactions: I64, weights: GroupWeights) -> F64:
    """The weight of each user. interactions: of each user, (users,).

    >>> of_users(["M", "F", None], np.array([6, 2, 5]), "balanced").round(3).tolist()
    [0.667, 2.0, 1.0]
    >>> of_users(["M", "F", None], np.array([6, 2, 5]), {"F": 1.5}).tolist()
    [1.0, 1.5, 1.0]
    """
    groups = np.array([group_of(gender) for gender in genders], dtype="<U7")
    if weights == "balanced":
        men, women = (int(interactions[groups == group].sum()) for group in ("M", "F"))
        if not (men and women):
            return np.ones(len(groups))
        weights = {group: min(MOST, (men + women) / (2 * n)) for group, n in (("M", men), ("F", women))}
    found = np.ones(len(groups))
    for group, weight in weights.items():
        found[groups == group] = weight
    return found


def weighted(rows: Rows, genders: Sequence[str | None], weights: GroupWeights, power: float) -> Rows:
    """The interactions with strengths times w_u ** power: 1 where strength enters the objective itself, ½ where its square does."""
    counts = np.diff(rows.indptr)
    strengths = of_users(genders, counts, weights) ** power
    return Rows(rows.indptr, rows.indices, (rows.data * np.repeat(strengths, counts)).astype(np.float32))
