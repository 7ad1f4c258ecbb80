"""Acquisition functions that look at each example's prediction alone."""

import numpy as np
from scipy.special import entr

from alpt_lib.acquisition import Candidates, select
from companion.acquisition.geometry import chunks

# of bald: predictions with other inputs of the head left out, and the share that is
N_DRAWS = 20
DROPPED = 0.5


def power_least_confidence(candidates: Candidates, rng: np.random.Generator) -> np.ndarray:
    """Least confidence with chance mixed in (Kirsch et al. 2023, section 3, PowerAcquisition).

    The score s = 1 - max p becomes log s plus Gumbel noise (their beta is 1), so that the highest
    are a sample drawn without replacement in proportion to s: what is alike need not be asked for
    together.

    Returns:
        (n_candidates,) float, finite: certainty counts as the smallest positive number.
    """
    doubt = 1 - candidates.probs.max(axis=1).astype(np.float64)
    return np.log(np.maximum(doubt, np.finfo(np.float64).tiny)) + rng.gumbel(size=len(candidates))


def bald(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """What the label would tell about the model (Houlsby et al. 2011, eq. 2; Gal et al. 2017).

    The entropy of the mean prediction minus the mean entropy, over 20 predictions, each with
    another half of the head's inputs left out. One half serves all examples of a query (Kirsch et
    al. 2019: a draw is one model). Departure: the head was trained without dropout, so this asks
    how much hangs on single features, and is no posterior.

    Returns:
        (n,) int64 positions, the highest mutual information first.
    """
    n_features = candidates.features.shape[1]
    masks_KD = (rng.random((N_DRAWS, n_features)) >= DROPPED) / (1 - DROPPED)
    parts = [_information(candidates, part, masks_KD) for part in chunks(len(candidates))]
    return select(np.concatenate(parts), n, rng)


def _information(candidates: Candidates, part: slice, masks_KD: np.ndarray) -> np.ndarray:
    features_ND = candidates.features[part]
    probs_KNC = [candidates.probs_of_features(features_ND * mask_D) for mask_D in masks_KD]
    mean_NC = np.mean(probs_KNC, axis=0)
    mean_entropy_N = np.mean([entr(probs_NC).sum(axis=1) for probs_NC in probs_KNC], axis=0)
    return entr(mean_NC).sum(axis=1) - mean_entropy_N
