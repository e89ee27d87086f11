"""The moving heart dipole and its projection onto the leads. Pure functions, no noise.

Axes, units and sources as in `embedded_heart`.
"""

import numpy as np

from pytest_ecgfm.cohorts.synthetic.heart import QRS, R_SHARE, Beats, Floats, Heart, Ints, State, rotation

# No septal q, slow leftward and posterior forces with a notch between them.
_QRS_LEFT_BLOCK = np.array(
    [
        [0.20, 0.06, -0.16, 0.09, 0.055],
        [0.90, 0.36, 1.15, 0.37, 0.130],
        [0.98, 0.14, 1.08, 0.69, 0.130],
        [0.25, -0.05, 0.20, 0.90, 0.060],
    ]
)
_RIGHT_TERMINAL = np.array([-0.47, -0.06, -0.68])
_T_LEFT_BLOCK = np.array([-0.34, -0.05, -0.38])
_T_RIGHT_BLOCK = np.array([0.10, 0.0, 0.36])
_T_STRAIN = np.array([-0.16, -0.02, 0.04])
# To the feet and left (lead II), and to the front right (lead V1): the two principal axes of the fibrillatory loop.
_FIBRILLATION = np.array([[0.55, 0.85, -0.05], [-0.22, 0.05, -0.95]])


def _bump(t: Floats, centre: float, width: float) -> Floats:
    result: Floats = np.exp(-0.5 * ((t - centre) / width) ** 2)
    return result


def block_share(state: State) -> float:
    """Return how far the block's own pattern has replaced the normal one, from 0 (QRS 98 ms) to 1 (132 ms)."""
    if state.block not in ("left", "right"):
        return 0.0
    return float(np.clip((state.qrs - 98.0) / 34.0, 0.0, 1.0))


def qrs_dipole(heart: Heart, state: State, t: Floats) -> Floats:
    """Return the ventricular depolarisation of one beat.

    Parameters
    ----------
    heart : Heart
    state : State
    t : ndarray, shape (times,)
        From the QRS onset, ms.

    Returns
    -------
    ndarray, shape (3, times)
        mV.
    """
    share = block_share(state)
    vectors = heart.qrs.copy()
    if state.hemiblock:
        # The first forces turn down and right (r in the inferior leads), all later ones up and left.
        vectors[0] = vectors[0] @ rotation(-40.0, 0.0).T + np.array([0.0, 0.14, 0.0])
        vectors[1] = vectors[1] @ rotation(-0.4 * state.hemiblock, 0.0).T
        vectors[2:] = vectors[2:] @ rotation(-state.hemiblock, 0.0).T
    if state.finding == "infarct":
        # An anterior scar takes the early forward forces away.
        vectors[0] *= 1 - state.severity
        vectors[1] += state.severity * np.array([-0.1, 0.0, 0.45])
    if state.finding == "hypertrophy":
        vectors[2:4] *= 1.0 + 0.6 * state.severity
    normal_ms = heart.duration if share else state.qrs
    shapes = np.stack([_bump(t, c * normal_ms, w * normal_ms) for c, w in QRS[:, 3:]])
    dipole = vectors.T @ shapes
    if state.block == "left" and share:
        size = float(np.linalg.norm(heart.qrs[2]) / np.linalg.norm(QRS[2, :3]))
        slow = np.stack([_bump(t, c * state.qrs, w * state.qrs) for c, w in _QRS_LEFT_BLOCK[:, 3:]])
        late = _QRS_LEFT_BLOCK[:, :3] * np.array([1.0, 1.0, heart.notch, 1.0])[:, None]
        dipole = (1 - share) * dipole + share * size * (late.T @ slow)
    elif state.block == "right" and share:
        begin = 0.60 * heart.duration
        width = (state.qrs - begin) / 4.4
        dipole = dipole + share * np.outer(_RIGHT_TERMINAL * heart.notch, _bump(t, state.qrs - 2.1 * width, width))
    if state.finding == "low voltage":
        dipole = dipole * (1 - 0.55 * state.severity)
    result: Floats = heart.rotation @ dipole
    return result


def _t_vector(heart: Heart, state: State) -> Floats:
    """Return the T dipole, with the changes secondary to blocks and findings; shape (3,), mV."""
    share = block_share(state)
    vector = heart.t
    if state.block == "left":
        vector = (1 - share) * vector + share * _T_LEFT_BLOCK * heart.notch
    elif state.block == "right":
        vector = vector + share * _T_RIGHT_BLOCK
    if state.finding == "repolarisation":
        vector = vector * (1.0 - 1.5 * state.severity)
    elif state.finding == "hypertrophy":
        vector = vector + state.severity * _T_STRAIN
    elif state.finding == "low voltage":
        vector = vector * (1 - 0.4 * state.severity)
    result: Floats = heart.rotation @ vector
    return result


def t_peak(heart: Heart, state: State, rr: Floats) -> Floats:
    """Return the time of the T peak after the QRS onset, ms: QT by Fridericia, stretched by a wide QRS.

    Parameters
    ----------
    heart : Heart
    state : State
    rr : ndarray, shape (beats,)
        Seconds.

    Returns
    -------
    ndarray, shape (beats,)
    """
    result: Floats = (heart.qtc - 95.0) * np.cbrt(rr) + 0.75 * (state.qrs - heart.duration)
    return result


def _add(target: Floats, piece: Floats, start: int) -> None:
    """Add `piece` to `target` from column `start` on, as far as it lies inside."""
    first, last = max(start, 0), min(start + piece.shape[1], target.shape[1])
    if first < last:
        target[:, first:last] += piece[:, first - start : last - start]


def onset(heart: Heart, beats: Beats, *, sampling_rate: float) -> Ints:
    """Return the sample of each beat's QRS onset, shape (beats,)."""
    return beats.at - round(R_SHARE * heart.duration * sampling_rate / 1000)


def ventricles(heart: Heart, state: State, beats: Beats, *, sampling_rate: float) -> Floats:
    """Return the ventricular dipole over the record.

    Returns
    -------
    ndarray of float32, shape (3, samples)
        mV.
    """
    per_ms = sampling_rate / 1000
    out = np.zeros((3, state.samples), np.float32)
    begin = onset(heart, beats, sampling_rate=sampling_rate)
    lead_in, length = int(25 * per_ms), int((state.qrs + 70) * per_ms)
    template = qrs_dipole(heart, state, np.arange(-lead_in, length) / per_ms)
    t = np.arange(int(760 * per_ms)) / per_ms
    wide = beats.ectopic[:, None] * (1.2 * _bump(t, 55.0, 22.0) + 0.8 * _bump(t, 105.0, 24.0))
    wide = wide - beats.ectopic[:, None] * 0.42 * _bump(t, 330.0, 48.0)
    vector = _t_vector(heart, state)
    peak = t_peak(heart, state, beats.rr)[:, None]
    stretch = np.clip(np.cbrt(beats.rr), 0.7, 1.15)[:, None]
    rise = np.where(t < peak, 56.0, 36.0) * stretch
    waves = np.exp(-0.5 * ((t - peak) / rise) ** 2) + heart.u * np.exp(-0.5 * ((t - peak - 165.0) / 32.0) ** 2)
    if state.block == "left" or state.finding in ("hypertrophy", "repolarisation"):
        # ST leaves the baseline in the direction of T.
        waves += 0.35 * np.exp(-0.5 * ((t - 0.55 * peak - 30.0) / 55.0) ** 2)
    for i, start in enumerate(begin):
        if beats.kind[i] == 2:
            _add(out, beats.gain[i] * wide, int(start))
            continue
        _add(out, beats.gain[i] * template, int(start) - lead_in)
        _add(out, beats.gain[i] * np.outer(vector, waves[i]), int(start))
    return out


def p_waves(heart: Heart, state: State, beats: Beats, *, sampling_rate: float) -> Floats:
    """Return the atrial dipole of sinus rhythm, shape (3, samples), mV."""
    per_ms = sampling_rate / 1000
    out = np.zeros((3, state.samples), np.float32)
    t = np.arange(int(170 * per_ms)) / per_ms
    wave = heart.p.T @ np.stack([_bump(t, 40.0, 17.0), _bump(t, 72.0, 18.0)])
    ahead = round(state.pr * per_ms)
    for i, start in enumerate(onset(heart, beats, sampling_rate=sampling_rate)):
        if beats.kind[i] != 2:
            # An atrial premature beat starts elsewhere in the atria.
            _add(out, -0.6 * wave if beats.kind[i] == 1 else wave, int(start) - ahead)
    return out


def fibrillation(rng: np.random.Generator, state: State, *, sampling_rate: float) -> Floats:
    """Return the atrial dipole of fibrillation (4 to 9 Hz, waxing and waning) or flutter (about 5 Hz, steady).

    Returns
    -------
    ndarray of float32, shape (3, samples)
        mV.
    """
    t = np.arange(state.samples) / sampling_rate
    flutter = state.rhythm == "flutter"
    f0 = rng.uniform(4.3, 5.4) if flutter else rng.uniform(4.5, 8.5)
    slow, mild, bend = rng.uniform([0.10, 0.25, 0.4], [0.25, 0.6, 1.1])
    a, b, c, d = rng.uniform(0.0, 2 * np.pi, 4)
    depth = 0.0 if flutter else 1.0
    wander = depth * (bend * np.sin(2 * np.pi * mild * t + a) + 1.6 * np.sin(2 * np.pi * slow * t + b))
    phase = 2 * np.pi * f0 * t + wander
    envelope = 1.0 + 0.4 * depth * np.sin(2 * np.pi * (slow + 0.13) * t + c)
    first = envelope * (np.sin(phase) + 0.35 * np.sin(2 * phase + d))
    second = envelope * (np.sin(phase + 0.9) + 0.25 * np.sin(2 * phase + d + 1.0))
    sizes = np.array([0.95, 0.35]) if flutter else np.array([0.62, 1.0])
    result: Floats = (_FIBRILLATION.T * sizes * state.fibrillation) @ np.stack([first, second])
    return result.astype(np.float32)


def project(heart: Heart, ventricular: Floats, atrial: Floats) -> Floats:
    """Return the eight independent leads, shape (8, samples), mV."""
    result: Floats = heart.leads.astype(np.float32) @ ventricular + heart.atrial.astype(np.float32) @ atrial
    return result


def twelve(independent: Floats) -> Floats:
    """Return all leads in the order of `pytest_ecgfm.signals.records.LEADS` by Einthoven's and Goldberger's relations.

    Parameters
    ----------
    independent : ndarray, shape (8, samples)
        `INDEPENDENT`.

    Returns
    -------
    ndarray, shape (12, samples)
    """
    one, two = independent[:2]
    limb = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])
    return np.concatenate([limb, independent[2:]])
