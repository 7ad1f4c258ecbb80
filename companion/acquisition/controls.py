"""Two controls that cheat: they see the answers, so that a gain can be told from mere balance.

No way of asking can do what they do. `loop.ask` gives them the oracle's answers because they are
named in CHEATING, and labelling sessions, where nobody knows the answers, refuse them.
"""

import numpy as np

from alpt_lib.acquisition import Candidates


def cheating_class_balance(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """CHEATS. Random with the classes balanced: always from the class with the fewest labels.

    What asking gains beyond it is not class balance (paper, section 6.1).

    Returns:
        (n,) int64 positions.
    """
    return _balanced(candidates, candidates.answers.labels, n, rng)


def cheating_group_balance(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """CHEATS. Random with the subgroups balanced: always from the one with the fewest labels.

    An upper bound for finding disambiguating examples (paper, section 6.1), where the subgroups are
    what is confounded. Without named subgroups it is random.

    Returns:
        (n,) int64 positions.
    """
    return _balanced(candidates, candidates.answers.subgroups, n, rng)


def _balanced(
    candidates: Candidates, groups: np.ndarray, n: int, rng: np.random.Generator
) -> np.ndarray:
    names, codes = np.unique(groups, return_inverse=True)
    # what the oracle cannot tell balances nothing: it comes last
    codes = np.where(candidates.answers.labels >= 0, codes, len(names))
    counts = np.bincount(codes[candidates.labelled], minlength=len(names) + 1)
    counts[-1] = len(groups)
    shuffled = rng.permutation(len(candidates))
    of_shuffled = codes[candidates.rows[shuffled]]
    queues = [shuffled[of_shuffled == g].tolist() for g in range(len(counts))]
    chosen = []
    for _ in range(n):
        open_ones = [g for g, queue in enumerate(queues) if queue]
        # the rng decides among equal ones
        group = min(rng.permutation(open_ones), key=lambda g: counts[g])
        chosen.append(queues[group].pop())
        counts[group] += 1
    return np.array(chosen, dtype=np.int64)
