"""Synthetic weights: each tensor is a function of its official key, its shape and a salt alone.

Golden vectors were made with such weights, so that whoever has the keys and shapes of a checkpoint has its weights.
There are two rules, for the vectors were made in two steps; which model has which stands in its manifest.
"""

import math
import zlib

import numpy as np


def normal(key, shape, salt):
    """Standard normal numbers, float32, of the generator that the key seeds."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32((key + salt).encode())))
    return np.asarray(generator.standard_normal(tuple(shape))).astype(np.float32)


def scaled(values, factor):
    return np.float32(factor) * values


def near_one(values):
    return np.float32(1) + scaled(values, 0.1)


def fan_in(shape):
    return 1 / math.sqrt(math.prod(shape[1:]))


def first_rule(key, shape, salt):
    """The rule of manifests whose list is called `tensors`: ECGFounder, HuBERT-ECG and both ECG-JEPA."""
    # One name for the two spellings of weight normalisation.
    for old, number in (("weight_g", 0), ("weight_v", 1)):
        if key.endswith(old):
            key = f"{key.removesuffix(old)}parametrizations.weight.original{number}"
    values = normal(key, shape, salt)
    if key.endswith("running_var"):
        return near_one(np.abs(values))
    if key.endswith("parametrizations.weight.original0"):
        return near_one(values)
    if len(shape) >= 2:
        return scaled(values, fan_in(shape))
    if key.endswith(".weight"):
        return near_one(values)
    return scaled(values, 0.1)


def second_rule(key, shape, salt):
    """The rule of manifests whose list is called `state_dict`: all others."""
    leaf = key.rpartition(".")[2]
    if ".kernel.kernel." in key:
        return state_space(key, shape, salt)
    values = normal(key, shape, salt)
    if leaf == "running_var":
        return near_one(np.abs(values))
    if leaf in ("weight_g", "original0") or (leaf == "weight" and len(shape) == 1):
        return near_one(values)
    if leaf in ("running_mean", "bias") or leaf.endswith("_bias"):
        return scaled(values, 0.1)
    if not shape:
        return values
    if len(shape) == 1 or shape[0] == 1:
        return scaled(values, 0.5)
    return scaled(values, fan_in(shape))


def state_space(key, shape, salt):
    """Tensors of a state-space layer, which is stable for few values only; the last axis is real and imaginary part."""
    leaf = key.rpartition(".")[2]
    if leaf == "log_dt":
        steps = math.log(0.01) + 0.8 * normal(key, shape, salt)
        return np.clip(steps, math.log(0.001), math.log(0.1)).astype(np.float32)
    if leaf == "w":
        values = normal(key, shape, salt)
        place = np.arange(shape[-2], dtype=np.float32)
        parts = [-0.5 - 0.1 * np.abs(values[..., 0]), 3.0 * (place + 0.5) + 0.2 * values[..., 1]]
        return np.stack(parts, axis=-1).astype(np.float32)
    if leaf == "Q":
        # The complex conjugate of P.
        return 0.3 * normal(f"{key[:-1]}P", shape, salt) * np.float32([1, -1])
    return scaled(normal(key, shape, salt), {"B": 0.7, "P": 0.3, "C": 0.5}[leaf])


def positions(width, leads, patches):
    """The fixed table of ECG-JEPA: sines and cosines of the patch in the first half, of the lead in the second."""
    frequencies = 1 / 10000.0 ** (np.arange(width // 4) / (width // 4))
    lead, patch = np.divmod(np.arange(float(leads * patches)), patches)
    parts = [turn(place[:, None] * frequencies) for place in (patch, lead) for turn in (np.sin, np.cos)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def synthetic_weights(manifest, salt=""):
    """Arrays by official key.

    Integers are zero. Not there is what a manifest calls "constructed" without saying how: the network's own tables.
    """
    rule, entries = (first_rule, manifest.get("tensors")) if "tensors" in manifest else (second_rule, None)
    found = {}
    for entry in entries or manifest["state_dict"]:
        key, shape = entry["key"], tuple(entry["shape"])
        if not entry["dtype"].startswith(("float", "bfloat")):
            if key.endswith("num_batches_tracked") or entry.get("init") != "constructed":
                found[key] = np.zeros(shape, dtype=entry["dtype"])
        elif "constructed" in entry:
            found[key] = positions(*map(int, entry["constructed"].split(":")[1:]))
        elif entry.get("init") != "constructed":
            # Two keys of one tensor have the values of one of them.
            found[key] = np.ascontiguousarray(rule(entry.get("alias_of", key), shape, salt), dtype=np.float32)
    return found
