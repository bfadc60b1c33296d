"""What is held out to test a model: each user's newest interactions. Time-ordered events are never split at random.

Splits; trains and measures nothing.
"""

import numpy as np

from models.recommenders.base import I32, I64, Bools


def newest(user: I32, movie: I32, time_ms: I64, share: float = 0.2) -> Bools:
    """(interactions,): whether each is among its user's newest ⌊share · n⌋ of n, by time, at a tie the larger movie column.

    Rounded down: at 20 % a user of fewer than five interactions is trained on and not tested. The order of the interactions
    does not matter. Meng, McCreadie, Macdonald and Ounis, Exploring data splitting strategies, RecSys 2020: "temporal user split".

    >>> one = np.zeros(5, np.int32)
    >>> newest(one, np.arange(5, dtype=np.int32), np.array([3, 9, 1, 9, 2])).tolist()
    [False, False, False, True, False]
    """
    order = np.lexsort((movie, time_ms, user))
    count = np.bincount(user)
    held = np.floor(count * share + 1e-9).astype(np.int64)  # 0.2 · 15 is 3, whatever binary fractions say
    end = np.cumsum(count)
    chosen = np.zeros(len(user), np.bool_)
    owner = user[order]
    chosen[order] = np.arange(len(user)) >= (end - held)[owner]
    return chosen
