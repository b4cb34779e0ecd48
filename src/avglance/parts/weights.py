"""Files of weights: safetensors alone; and an encoder filled from one, strictly."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from avglance.errors import CheckpointError
from avglance.parts.mobilenets import MobileNet

CLASSIFIER = "classifier."
"""Beginning of the names in a file that belong to the classes it was trained on, not to the encoder."""

_PICKLES = (b"PK\x03\x04", b"\x80", b"\x1f\x8b")  # zip archives of torch.save, bare pickles, compressed ones


def refuse_pickle(path: Path) -> None:
    """Raises CheckpointError if a file holds pickled or zipped weights."""
    with path.open("rb") as file:
        start = file.read(9)
    # a safetensors file begins with its header's length, whose bytes may look like a pickle, and a brace
    if start.startswith(_PICKLES) and start[8:] != b"{":
        raise CheckpointError(
            "these are pickled or zipped weights, which may run code when they are loaded",
            where=str(path),
            hint="only safetensors are read",
        )


def sha256_of(path: Path) -> str:
    """Checksum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_encoder_weights(encoder: MobileNet, path: str | Path) -> str:
    """Fills an encoder's net with the weights of a safetensors file.

    The file names its tensors as ``encoder.net`` does and may hold a ``classifier`` too, which is not taken.
    Real numbers of any size become those of the encoder (float32).

    Returns:
        The file's sha256.

    Raises:
        CheckpointError: the file is not there, is pickled or no safetensors; a tensor is missing, of another
            shape, of no use, or none of this encoder. The encoder is then as it was.
    """
    path = Path(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "no such file of weights"
        raise CheckpointError(what, where=str(path), hint="name a safetensors file")
    try:
        refuse_pickle(path)
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _check_shapes(encoder, shapes, str(path))
            given = {name: file.get_tensor(name) for name in encoder.net.state_dict()}
        checksum = sha256_of(path)
    except (SafetensorError, OSError) as e:
        raise CheckpointError(f"not a safetensors file ({e})", where=str(path)) from e
    encoder.net.load_state_dict({name: _usable(name, x, str(path)) for name, x in given.items()})
    return checksum


def _check_shapes(encoder: MobileNet, shapes: dict[str, tuple[int, ...]], where: str) -> None:
    """Raises CheckpointError where names and shapes in a file are not those of an encoder."""
    kind = type(encoder).__name__
    want = {name: tuple(x.shape) for name, x in encoder.net.state_dict().items()}
    if missing := [name for name in want if name not in shapes]:
        raise CheckpointError(
            f"{len(missing)} of the {len(want)} weights of {kind} are missing, first {missing[0]!r}",
            where=where,
        )
    if extra := sorted(name for name in shapes if name not in want and not name.startswith(CLASSIFIER)):
        raise CheckpointError(f"{len(extra)} weights are not of {kind}, first {extra[0]!r}", where=where)
    for name, shape in want.items():
        if shapes[name] != shape:
            raise CheckpointError(f"{name} is {shapes[name]}, {kind} has {shape}", where=where)


def _usable(name: str, x: Tensor, where: str) -> Tensor:
    """A weight of a file in float32; CheckpointError if it holds no real, finite numbers."""
    if not x.is_floating_point():
        raise CheckpointError(f"{name} holds {x.dtype}, not real numbers", where=where)
    real = x.to(torch.float32)
    if not bool(real.isfinite().all()):
        raise CheckpointError(f"{name} holds numbers that are not finite", where=where)
    return real
