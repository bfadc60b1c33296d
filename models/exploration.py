"""Lists with randomised slots, and the chance of each movie in its place, so that other policies can be judged from the log.

Draws by hashes of a salt: whoever knows the request can draw again, and a replay gives the same list. Knows neither models nor
movies: it deals in ranks, 0 for the model's best.

Of a list of n, s places are chosen, every set of s with the same chance. Each of them gets a movie from the pool, the p movies
that the model ranks n … n + p − 1, every one with the same chance and none twice. So, over all draws,

    P(rank j in place j) = 1 − s / n                for each of the model's own n
    P(rank r in place j) = s / n · 1 / p            for each r of the pool

which are the propensities of inverse propensity scoring (Horvitz & Thompson, JASA 47, 1952; Bottou et al., "Counterfactual
Reasoning and Learning Systems", JMLR 14, 2013, section 4; Swaminathan & Joachims, JMLR 16, 2015).
"""

from dataclasses import dataclass
from hashlib import sha256

from models.config import Exploration
from models.release.split import BUCKETS, bucket


@dataclass(frozen=True, slots=True)
class Draw:
    """What stands in each place of a list: its rank, and the chance that this rank came to stand there."""

    ranks: list[int]
    propensities: list[float]


def explores(user_id: str, exploration: Exploration) -> bool:
    """Whether the user is one of those who explore: a share of all, and, as it grows, always the same ones and more.

    >>> [explores(f"u{number}", Exploration(share=0.3)) for number in range(5)]
    [False, False, False, False, True]
    """
    return bucket(f"explores:{user_id}", exploration.salt) < BUCKETS * exploration.share


def draw(request_id: str, n: int, ranked: int, exploration: Exploration) -> Draw | None:
    """The draw for this request, of whose movies the model has ranked so many. None where it has none beyond the list's n."""
    pool = min(ranked - n, exploration.pool)
    if pool <= 0 or n <= 0:
        return None
    digest = sha256(f"{exploration.salt}:draw:{request_id}".encode()).digest()
    return dealt(int.from_bytes(digest, "big"), n, pool, exploration.slots)


def dealt(number: int, n: int, pool: int, slots: int) -> Draw:
    """The draw that a whole number stands for: its digits are the places and the movies, one after the other.

    No more slots than places or movies. Over `number` from 0 to outcomes − 1 every draw comes equally often, where outcomes is
    n · pool · (n − 1) · (pool − 1) …, `slots` factors of each. 2²⁵⁶ is no multiple of it: with the largest of all settings,
    100 places, 1,000 movies and 10 slots, chances are off by less than 1 part in 2⁸⁹.

    >>> dealt(7, n=3, pool=2, slots=1)  # 7 = 1 + 3 · 2: place 1, and 2 modulo 2: the pool's first
    Draw(ranks=[0, 3, 2], propensities=[0.6666666666666666, 0.16666666666666666, 0.6666666666666666])
    """
    slots = min(slots, n, pool)
    places, movies = list(range(n)), list(range(n, n + pool))
    ranks, propensities = list(range(n)), [(n - slots) / n] * n
    for _ in range(slots):
        number, digit = divmod(number, len(places))
        place = places.pop(digit)
        number, digit = divmod(number, len(movies))
        ranks[place] = movies.pop(digit)
        propensities[place] = slots / (n * pool)
    return Draw(ranks, propensities)
