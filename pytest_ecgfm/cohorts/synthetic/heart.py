"""A patient's heart and torso, one record's true state, and when the ventricles beat. Pure functions.

Frank's axes throughout: x to the patient's left, y to the feet, z to the back; amplitudes in mV, times in ms unless
said otherwise. Wave shapes follow the textbook vectorcardiogram (Macfarlane et al., *Comprehensive Electrocardiology*,
2nd ed., 2010); sums of Gaussian waves as in McSharry et al., IEEE Trans Biomed Eng 50:289 (2003).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The eight leads from which the other four follow."""

DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
"""From Frank's x, y, z to `INDEPENDENT`.

Dower et al., J Electrocardiol 13:109 (1980); Edenbrandt & Pahlm, J Electrocardiol 21:361 (1988).
"""

# V1 lies over the right atrium and the other chest electrodes are further from the atria than from the ventricles, so
# one far dipole cannot serve both; factors chosen so that fibrillatory waves are largest in V1, then II, as they are.
ATRIAL = DOWER * np.array([1.0, 1.0, 1.35, 0.62, 0.40, 0.40, 0.45, 0.50])[:, None]
"""`DOWER` as seen from the atria."""

# Vector (x, y, z), centre and width (standard deviation), the two last as shares of the QRS duration.
QRS = np.array(
    [
        [-0.16, -0.02, -0.24, 0.14, 0.065],
        [0.45, 0.38, -0.20, 0.31, 0.085],
        [1.02, 0.72, 0.30, 0.45, 0.095],
        [0.26, 0.10, 1.00, 0.64, 0.095],
        [-0.16, -0.16, 0.26, 0.83, 0.080],
    ]
)
T_WAVE = np.array([0.27, 0.19, -0.19])
# Right atrium first (forwards), then the left one (backwards): hence P is biphasic in V1.
P_WAVE = np.array([[0.055, 0.095, -0.075], [0.075, 0.055, 0.055]])

R_SHARE = 0.45
"""Where in a normal QRS the beat's reference point (near the R peak) lies."""

NORMAL_PR = 158.0
"""PR interval that the counterfactual without first-degree block has, in ms."""

Rhythm = Literal["sinus", "fibrillation", "flutter"]
Block = Literal["", "left", "right", "unspecific"]
Finding = Literal["", "repolarisation", "hypertrophy", "low voltage", "infarct"]


@dataclass(frozen=True)
class State:
    """What is truly the case in one record, whatever the reader wrote.

    Attributes
    ----------
    rhythm : str
        ``"sinus"``, ``"fibrillation"`` or ``"flutter"``.
    rate : float
        Mean ventricular rate, beats a minute.
    variability : float
        Coefficient of variation of the RR intervals.
    pr, qrs : float
        PR interval and QRS duration, ms.
    block : str
        Which bundle is slow: ``""``, ``"left"``, ``"right"`` or ``"unspecific"`` (a wide QRS of normal shape).
    hemiblock : float
        Leftward turn of the later QRS forces by a left anterior fascicular block, degrees; 0 without.
    fibrillation : float
        Amplitude of fibrillatory or flutter waves, mV; 0 in sinus rhythm.
    ectopics : float
        Share of beats that are premature.
    finding : str
        An abnormality that none of the labels names.
    severity : float
        How marked `finding` is, 0 to 1.
    noise : float
        Factor on the cohort's noise: well above 1 in poor records.
    samples : int
        Length of the record.
    """

    rhythm: Rhythm
    rate: float
    variability: float
    pr: float
    qrs: float
    block: Block
    hemiblock: float
    fibrillation: float
    ectopics: float
    finding: Finding
    severity: float
    noise: float
    samples: int


@dataclass(frozen=True)
class Heart:
    """A patient's own anatomy: shared by all of the patient's records.

    Attributes
    ----------
    leads, atrial : ndarray, shape (8, 3)
        `DOWER` and `ATRIAL` as this torso and these electrodes have them.
    rotation : ndarray, shape (3, 3)
        Turn of the whole heart.
    qrs : ndarray, shape (5, 3)
        Dipole of each component of a normal QRS, before `rotation`, mV.
    t, p : ndarray, shape (3,) and (2, 3)
        Dipole of the T wave and of the two halves of the P wave, mV.
    u : float
        U wave as a share of T.
    duration : float
        QRS duration without block, ms.
    qtc : float
        QT interval at 60 beats a minute (Fridericia), ms.
    notch : float
        Relative size of the second left-bundle-block peak.
    """

    leads: Floats
    atrial: Floats
    rotation: Floats
    qrs: Floats
    t: Floats
    p: Floats
    u: float
    duration: float
    qtc: float
    notch: float


@dataclass(frozen=True)
class Beats:
    """When the ventricles beat.

    Attributes
    ----------
    at : ndarray of int64, shape (beats,)
        Samples of the reference points; may lie outside of the record.
    rr : ndarray, shape (beats,)
        Interval that sets each beat's QT, seconds.
    gain : ndarray, shape (beats,)
        Amplitude, which breathing modulates.
    kind : ndarray of int64, shape (beats,)
        0 conducted, 1 premature atrial, 2 premature ventricular.
    ectopic : ndarray, shape (3,)
        Dipole of the ventricular premature beats, mV.
    """

    at: Ints
    rr: Floats
    gain: Floats
    kind: Ints
    ectopic: Floats


def rotation(frontal: float, transverse: float) -> Floats:
    """Return the matrix that turns a dipole in the frontal (positive: clockwise, to the feet) and transverse plane.

    Parameters
    ----------
    frontal, transverse : float
        Degrees.

    Returns
    -------
    ndarray, shape (3, 3)
    """
    a, b = np.deg2rad([frontal, transverse])
    turn = np.array([[np.cos(a), -np.sin(a), 0.0], [np.sin(a), np.cos(a), 0.0], [0.0, 0.0, 1.0]])
    swing = np.array([[np.cos(b), 0.0, -np.sin(b)], [0.0, 1.0, 0.0], [np.sin(b), 0.0, np.cos(b)]])
    result: Floats = turn @ swing
    return result


def draw_heart(rng: np.random.Generator, *, age: float, female: bool) -> Heart:
    """Draw a patient's anatomy.

    Parameters
    ----------
    rng : Generator
        Of this patient alone.
    age : float
        Years; the axis turns to the left with it.
    female : bool
        Lower chest voltages and T waves, longer QT.

    Returns
    -------
    Heart
    """
    size = rng.lognormal(-0.10 if female else 0.0, 0.22)
    slide = rng.uniform(-0.22, 0.22)
    gain = np.concatenate([np.ones(2), rng.lognormal(0.0, 0.10, 6)])

    def perturbed(matrix: Floats) -> Floats:
        # Chest electrodes stuck too far right or left see something of their neighbour's lead.
        neighbour = np.roll(matrix[2:], 1 if slide < 0 else -1, axis=0)
        edge = 0 if slide < 0 else -1
        neighbour[edge] = matrix[2:][edge]
        chest = (1 - abs(slide)) * matrix[2:] + abs(slide) * neighbour
        result: Floats = np.concatenate([matrix[:2], chest]) * gain[:, None]
        return result

    frontal = rng.normal(8.0 - 0.35 * (age - 55.0), 19.0)
    return Heart(
        leads=perturbed(DOWER),
        atrial=perturbed(ATRIAL),
        rotation=rotation(float(np.clip(frontal, -42.0, 55.0)), rng.normal(0.0, 10.0)),
        qrs=QRS[:, :3] * size * rng.lognormal(0.0, 0.18, (5, 1)) + rng.normal(0.0, 0.05 * size, (5, 3)),
        t=(T_WAVE * rng.lognormal(-0.15 if female else 0.05, 0.24) + rng.normal(0.0, 0.035, 3)),
        p=P_WAVE * rng.lognormal(0.0, 0.25) + rng.normal(0.0, 0.012, (2, 3)),
        u=float(rng.uniform(0.0, 0.12)),
        duration=float(np.clip(rng.normal(88.0 if female else 93.0, 7.0), 72.0, 108.0)),
        qtc=float(rng.normal(415.0 if female else 402.0, 16.0)),
        notch=float(rng.lognormal(0.0, 0.15)),
    )


def draw_beats(rng: np.random.Generator, state: State, *, sampling_rate: float) -> Beats:
    """Draw the times of all beats that reach into the record.

    Sinus intervals follow breathing and a slow drift; in fibrillation they are independent and gamma-distributed.

    Parameters
    ----------
    rng : Generator
        Of this record alone.
    state : State
    sampling_rate : float
        Hz.

    Returns
    -------
    Beats
    """
    mean = 60.0 / state.rate
    seconds = state.samples / sampling_rate
    n = int((seconds + 4.0) / mean * 1.5) + 8
    breath, phase = rng.uniform(0.18, 0.32), rng.uniform(0.0, 2 * np.pi)
    start = -1.5 - rng.uniform(0.0, mean)
    if state.rhythm == "fibrillation":
        shape = 1.0 / state.variability**2
        rr = np.maximum(mean * rng.gamma(shape, 1.0 / shape, n), 0.30)
    else:
        swing = np.sin(2 * np.pi * breath * mean * np.arange(n) + phase) * 1.3 + rng.normal(0.0, 0.4, n)
        rr = mean * (1.0 + state.variability * swing)
    kind = np.where(rng.random(n) < state.ectopics, rng.integers(1, 3, n), 0)
    early = np.flatnonzero((kind > 0) & (np.arange(n) > 0) & (np.arange(n) < n - 1))
    # A premature beat, then a pause: full after a ventricular one in sinus rhythm.
    rr[early] *= rng.uniform(0.58, 0.80, early.size)
    rr[early + 1] *= np.where(kind[early] == 2, 1.25, 1.05)
    times = start + np.cumsum(rr)
    times = times[times < seconds + 1.5]
    n = times.size
    # QT follows the last few intervals, not the last alone.
    smooth = np.convolve(np.concatenate([np.full(2, rr[0]), rr[:n]]), [0.5, 0.3, 0.2])[2 : n + 2]
    side = rng.choice([-1.0, 1.0])
    ectopic = np.array([side * rng.uniform(0.6, 1.4), rng.uniform(-0.9, 1.2), side * rng.uniform(0.2, 1.0)])
    return Beats(
        at=np.rint(times * sampling_rate).astype(np.int64),
        rr=smooth,
        gain=1.0 + 0.05 * np.sin(2 * np.pi * breath * times + phase) + rng.normal(0.0, 0.012, n),
        kind=kind[:n],
        ectopic=ectopic,
    )
