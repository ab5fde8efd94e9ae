"""Loading of weights from a file into a timm backbone, whose tensors must all be filled."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mergerexp.errors import WeightsError, describe
from mergerexp.files import flatten
from mergerexp.models.efficientnet_lite import is_wheel_state, to_timm_keys
from mergerexp.models.weights import WHEELS, WeightsFile, sha256_of

State = dict[str, Tensor]

# Prefixes that training code puts before the names of a network's tensors: entries of a checkpoint, wrappers
# of torch (DataParallel, compile), and attributes of Lightning modules.
AVERAGED = ("state_dict_ema", "model_ema")  # the one of two networks in a file that timm takes
WRAPPERS = {*AVERAGED, "state_dict", "model", "module", "_orig_mod", "backbone", "net", "network", "encoder"}
COUNTER = "num_batches_tracked"  # of BatchNorm; outputs do not depend on it, and old files lack it
MISSING, SHAPE, KIND, NOT_FINITE = "missing", "of another shape", "of another kind of number", "not finite"
WRONG = (MISSING, SHAPE, KIND, NOT_FINITE)
NAMED = 3  # the number of tensors that a message names


@dataclass
class Misfit:
    """The differences between a state dict and the network that it should fill.

    Attributes
    ----------
    total
        The number of tensors in the network.
    wrong
        The names of the network's tensors that get no usable value, by what is wrong with them: `MISSING` in
        the state dict; of another `SHAPE`, with both shapes; of another `KIND` of number, that is complex or
        floating point on one side only, with their type; or `NOT_FINITE`.
    excess
        The names of tensors that have no place in the network.
    """

    total: int
    wrong: dict[str, list[str]] = field(default_factory=lambda: {what: [] for what in WRONG})
    excess: list[str] = field(default_factory=list)

    @property
    def unfilled(self) -> int:
        """The number of the network's tensors that get no usable value."""
        return sum(map(len, self.wrong.values()))

    def __bool__(self) -> bool:
        return bool(self.unfilled or self.excess)

    def __str__(self) -> str:
        wrong = [
            f"{len(names)} {'is' if len(names) == 1 else 'are'} {what} ({_some(names)})"
            for what, names in self.wrong.items()
            if names
        ]
        parts = [f"of its {self.total} tensors {', '.join(wrong)}"] if wrong else []
        if self.excess:
            parts.append(
                f"the file has {len(self.excess)} that the network does not have ({_some(self.excess)})"
            )
        return "; ".join(parts)


class _DoesNotFillError(Exception):
    """Raised when a state dict does not fill a network."""

    def __init__(self, misfit: Misfit) -> None:
        super().__init__(str(misfit))
        self.misfit = misfit


def load_backbone(name: str, weights: WeightsFile, kwargs: dict[str, Any]) -> nn.Module:
    """Create a timm backbone with the weights of a file.

    Names may have the prefixes of common wrappers (`WRAPPERS`), or be those of the wheels. The filter that
    timm has for the architecture then translates the names of other libraries, and resizes tensors that may
    be resized (positional embeddings). After that the file must hold every tensor of the backbone, finite and
    with its shape, and no tensor that is not in the network; the classifier may be present or absent.

    Parameters
    ----------
    name
        The name of the backbone in timm.
    weights
        The file of weights.
    kwargs
        Further arguments of ``timm.create_model``.

    Raises
    ------
    WeightsError
        If the file has changed since it was found, holds no weights, or does not fill the backbone.
    """
    tensors = read_tensors(weights)
    candidates = [(prefix, _below(tensors, prefix)) for prefix in _prefixes(tensors)]
    failed: list[tuple[int, str]] = []
    for prefix, state in candidates:
        try:
            network = _fill(name, _in_timm_layout(state, name), kwargs)
        except _DoesNotFillError as error:
            failed.append((error.misfit.unfilled, str(error)))
        except Exception as error:  # timm's filters do not check names and shapes
            failed.append((len(tensors), f"its tensors are {_some(sorted(state))}: {describe(error)}"))
        else:
            _refuse_twins(weights.path, prefix, candidates)
            return network
    raise WeightsError(
        f"{weights.path} does not fill {name}: {min(failed)[1]}. It holds {_some(list(tensors))}. "
        f"Use a file with all weights of this backbone under timm's names, or init=random"
    )


def read_tensors(weights: WeightsFile) -> State:
    """Return the tensors of a file by name, with dotted names for those in nested dictionaries.

    No code in the file is executed.

    Raises
    ------
    WeightsError
        If the file has vanished or changed since it was found, or holds no named tensors.
    """
    path = weights.path
    if sha256_of(path) != weights.sha256:
        raise WeightsError(f"{path} has changed since the run was planned; give the same command again")
    with path.open("rb") as file:
        start = file.read(40)
    try:
        if start[8:9] == b"{":  # after the length of the header
            content: Any = load_file(path)
        else:
            # The checkpoints of timm hold this plain record beside the tensors.
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the exceptions of safetensors, pickle and zip have no common base
        raise WeightsError(f"{path} is not a weights file: {_why_unreadable(path, start)}") from error
    leaves = flatten(content) if isinstance(content, dict) else {}
    tensors = {name: value for name, value in leaves.items() if isinstance(value, Tensor)}
    if not tensors:
        held = f"an empty {type(content).__name__}" if content in ({}, [], ()) else "no named tensors"
        held = held if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise WeightsError(
            f"{path} is not a weights file: it holds {held}, where a dictionary of tensors is needed, as "
            "torch.save(model.state_dict(), PATH) writes it"
        )
    return tensors


def _why_unreadable(path: Path, start: bytes) -> str:
    if not start:
        return "it is empty"
    try:
        held = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it is not an archive of torch
        held = []
    if held:
        return (
            f"it holds Python objects ({_some(sorted(held))}), which are not loaded since they may run code; "
            "save the tensors alone: torch.save(model.state_dict(), PATH)"
        )
    return f"it is damaged, or neither safetensors nor a torch checkpoint (it begins with {start[:24]!r})"


def _prefixes(tensors: State) -> list[str]:
    """Return the prefixes of wrappers in a file, those of averaged weights first, then the longest ones."""
    found = {""}
    for name in tensors:
        words = list(takewhile(WRAPPERS.__contains__, name.split(".")[:-1]))
        found.update(".".join([*words[:n], ""]) for n in range(1, len(words) + 1))
    return sorted(found, key=lambda prefix: (not _is_averaged(prefix), -prefix.count("."), prefix))


def _is_averaged(prefix: str) -> bool:
    return not set(AVERAGED).isdisjoint(prefix.split("."))


def _below(tensors: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _refuse_twins(path: Path, taken: str, candidates: list[tuple[str, State]]) -> None:
    """Refuse a file with two networks, unless one is the average of the other."""
    names = dict(candidates)[taken].keys()
    for prefix, state in candidates:
        may_be_left = _is_averaged(taken) and not _is_averaged(prefix)
        if prefix != taken and state.keys() == names and not may_be_left:
            raise WeightsError(
                f"{path} holds two networks, {taken or 'one without prefix'} and {prefix}; "
                "save the one that you want in a separate file"
            )


def _in_timm_layout(state: State, name: str) -> State:
    # Only tf_efficientnet_lite* computes the same as the networks of the wheels; efficientnet_lite* does not.
    if not is_wheel_state(state) or name.split(".")[0] not in WHEELS:
        return state
    return to_timm_keys(state, timm.create_model(name, pretrained=False).state_dict())


def _fill(name: str, state: State, kwargs: dict[str, Any]) -> nn.Module:
    """Create a backbone by timm, which loads the state dict after its own filter, and check that."""
    with _each_load_checked(name) as loaded:
        network = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **kwargs
        )
    if not any(module is network for module in loaded):
        raise WeightsError(f"{name}: timm {timm.__version__} has created it without loading the weights")
    del _config(network)["state_dict"]  # otherwise a second copy would stay in memory
    return network


@contextmanager
def _each_load_checked(name: str) -> Iterator[list[nn.Module]]:
    """Refuse a state dict that does not fill the network at the moment when timm loads it.

    Only the builder of timm knows the filters, and it accepts missing tensors if the classifier is left out.
    """
    original = nn.Module.load_state_dict
    loaded: list[nn.Module] = []

    def checked(module: nn.Module, state: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        if misfit := compare(module, state, name):
            raise _DoesNotFillError(misfit)
        loaded.append(module)
        return original(module, state, *args, **kwargs)

    nn.Module.load_state_dict = checked  # type: ignore[method-assign, assignment]
    try:
        yield loaded
    finally:
        nn.Module.load_state_dict = original  # type: ignore[method-assign]


def compare(network: nn.Module, state: Mapping[str, Tensor], name: str) -> Misfit:
    """Compare a state dict with a network, tensor by tensor.

    Parameters
    ----------
    network
        The backbone.
    state
        The state dict that is to be loaded into it.
    name
        The name of the backbone in timm, from which the names in its classifier are known.
    """
    targets = network.state_dict()
    misfit = Misfit(len(targets))
    for key, target in targets.items():
        value = state.get(key)
        if value is None:
            if not key.endswith(COUNTER):
                misfit.wrong[MISSING].append(key)
        elif value.shape != target.shape:
            misfit.wrong[SHAPE].append(f"{key}: {list(value.shape)} for {list(target.shape)}")
        elif value.is_complex() or value.is_floating_point() != target.is_floating_point():
            if not key.endswith(COUNTER):
                misfit.wrong[KIND].append(f"{key}: {str(value.dtype).removeprefix('torch.')}")
        elif not bool(torch.isfinite(value.to(target.dtype)).all()):
            misfit.wrong[NOT_FINITE].append(key)
    # Counters and indices are not weights, so that only floating-point tensors can be those of another
    # network.
    excess = [key for key, value in state.items() if key not in targets and value.is_floating_point()]
    if excess:
        whole, classifier = _classifier(name)
        misfit.excess = [key for key in excess if key not in whole and not key.startswith(classifier)]
    return misfit


def _classifier(name: str) -> tuple[set[str], tuple[str, ...]]:
    """Return the names of the tensors of the whole network, and the prefixes of those of its classifier."""
    whole = timm.create_model(name, pretrained=False)
    classifiers = _config(whole).get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else classifiers
    return set(whole.state_dict()), tuple(f"{classifier}." for classifier in classifiers)


def _config(network: nn.Module) -> dict[str, Any]:
    return cast(dict[str, Any], network.pretrained_cfg)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown}, …" if len(names) > NAMED else shown
