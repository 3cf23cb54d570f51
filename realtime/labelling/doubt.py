"""How uncertain a detector was about an image, so that a person looks at the most useful ones first."""

import numpy as np


def doubt_of(scores: np.ndarray, threshold: float) -> float:
    """Doubt about an image: that about its least certain detection.

    A score at the threshold, where a box is as good as kept as left out, has doubt 1, a score of 0 or 1 none, and
    between them it falls linearly: margin sampling of active learning (Settles, 2009), for a threshold that need not be
    one half.

    Args:
        scores: (N,), 0..1, of all detections, those below the threshold too.
        threshold: minimum score of a label, 0..1.

    Returns:
        0..1; 0 for an image without detections.
    """
    if not len(scores):
        return 0.0
    below, above = max(threshold, 1e-6), max(1 - threshold, 1e-6)
    doubts = np.where(scores < threshold, scores / below, (1 - scores) / above)
    return float(doubts.max())
