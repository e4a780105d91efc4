"""The same reading as the probe's without its training: ridge and quantile regression of scikit-learn.

not in paper: because its probe is trained for a fixed number of steps, a loss may tell of the steps and not of the
latent action; the closed forms have no steps.
Shape letters: N training pairs, P pairs that are read, Z values read from, G targets, K directions that vary.
"""

import numpy as np
from sklearn.linear_model import QuantileRegressor, Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES, FOLDS = np.logspace(-1, 5, 7), 5
ROUNDING = 1e-6  # of the largest singular value; directions that vary less are none


def ridge(inputs_NZ: np.ndarray, wanted_NG: np.ndarray, seen_PZ: np.ndarray) -> np.ndarray:
    """Fit least squares on standardised inputs and read what was seen -> [P, G].

    Each target has the one of `PENALTIES` whose error on left-out fifths of the training pairs is least. The fifths
    are of neighbouring pairs, because pairs of one episode resemble each other.
    """
    folds = KFold(min(FOLDS, len(inputs_NZ)))
    said = [cross_val_predict(penalised(one), inputs_NZ, wanted_NG, cv=folds).reshape(wanted_NG.shape) for one in PENALTIES]
    errors = [np.square(each_NG - wanted_NG).mean(0) for each_NG in said]
    model = penalised(PENALTIES[np.argmin(errors, axis=0)]).fit(inputs_NZ, wanted_NG)
    return within(wanted_NG, model.predict(seen_PZ).reshape(len(seen_PZ), -1))


def penalised(penalty: float | np.ndarray) -> Pipeline:
    return make_pipeline(StandardScaler(), Ridge(penalty))


def quantile(inputs_NZ: np.ndarray, wanted_NG: np.ndarray, seen_PZ: np.ndarray, pairs: int) -> np.ndarray:
    """Fit least absolute deviations on `pairs` training pairs at most, spread evenly, and read what was seen -> [P, G].

    It is a linear programme a target, whose time grows with the square of the pairs and of the values read from.
    """
    chosen = np.linspace(0, len(inputs_NZ) - 1, min(pairs, len(inputs_NZ))).round().astype(int)
    directions_KZ = varying(inputs_NZ[chosen])
    train_NK, seen_PK = inputs_NZ[chosen] @ directions_KZ.T, seen_PZ @ directions_KZ.T
    model = make_pipeline(StandardScaler(), QuantileRegressor(quantile=0.5, alpha=0, solver="highs-ipm"))
    return within(wanted_NG, np.stack([model.fit(train_NK, wanted_N).predict(seen_PK) for wanted_N in wanted_NG[chosen].T], 1))


def within(wanted_NG: np.ndarray, said_PG: np.ndarray) -> np.ndarray:
    """Keep what is said within what the training pairs have: nothing is read beyond them."""
    return said_PG.clip(wanted_NG.min(0), wanted_NG.max(0))


def varying(inputs_NZ: np.ndarray) -> np.ndarray:
    """Return orthonormal directions [K, Z] in which the inputs vary: a codebook of few live codes has few."""
    _, size_K, directions_KZ = np.linalg.svd(inputs_NZ - inputs_NZ.mean(0), full_matrices=False)
    return directions_KZ[size_K >= ROUNDING * size_K.max()]
