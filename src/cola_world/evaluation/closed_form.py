"""The same reading as the probe's without its training: ridge and quantile regression of scikit-learn.

not in paper: because its probe is trained for a fixed number of steps, a loss may tell of the steps and not of the
latent action; the closed forms have no steps.
Shape letters: N training pairs, P pairs that are read, Z values read from, G targets, K directions that vary.
"""

import numpy as np
from sklearn.linear_model import QuantileRegressor, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES = np.logspace(-2, 4, 7)
ROUNDING = 1e-6  # of the largest singular value; directions that vary less are none


def ridge(inputs_NZ: np.ndarray, wanted_NG: np.ndarray, seen_PZ: np.ndarray) -> np.ndarray:
    """Fit least squares on standardised inputs and read what was seen -> [P, G].

    The penalty of each target is the one of `PENALTIES` whose leave-one-out error on the training pairs is least.
    """
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES, alpha_per_target=True))
    return model.fit(inputs_NZ, wanted_NG).predict(seen_PZ).reshape(len(seen_PZ), -1)


def quantile(inputs_NZ: np.ndarray, wanted_NG: np.ndarray, seen_PZ: np.ndarray, pairs: int) -> np.ndarray:
    """Fit least absolute deviations on `pairs` training pairs at most, spread evenly, and read what was seen -> [P, G].

    It is a linear programme a target, whose time grows with the square of the pairs and of the values read from.
    """
    chosen = np.linspace(0, len(inputs_NZ) - 1, min(pairs, len(inputs_NZ))).round().astype(int)
    directions_KZ = varying(inputs_NZ[chosen])
    train_NK, seen_PK = inputs_NZ[chosen] @ directions_KZ.T, seen_PZ @ directions_KZ.T
    model = make_pipeline(StandardScaler(), QuantileRegressor(quantile=0.5, alpha=0, solver="highs-ipm"))
    return np.stack([model.fit(train_NK, wanted_N).predict(seen_PK) for wanted_N in wanted_NG[chosen].T], 1)


def varying(inputs_NZ: np.ndarray) -> np.ndarray:
    """Return orthonormal directions [K, Z] in which the inputs vary: a codebook of few live codes has few."""
    _, size_K, directions_KZ = np.linalg.svd(inputs_NZ - inputs_NZ.mean(0), full_matrices=False)
    return directions_KZ[size_K >= ROUNDING * size_K.max()]
