"""WAV files as samples between -1 and 1, and back."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.tensors import BadInput

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
WANTED = "audio: a WAV file is wanted (PCM of 8, 16, 24 or 32 bits, float, or mu-law)"
MU = 255.0

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """Samples of one channel."""

    samples: Samples
    rate: int  # per second

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


def read(data: bytes) -> Sound:
    """The sound in a WAV file; of several channels their mean. BadInput for what is none."""
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        raise BadInput(WANTED)
    kind, channels, rate, bits, body = _chunks(data)
    size = bits // 8
    if not (1 <= channels <= 16 and 1000 <= rate <= 384_000 and 1 <= size <= 8):
        raise BadInput(WANTED)
    samples = _decode(kind, bits, body[: len(body) // (size * channels) * size * channels])
    return Sound(samples.reshape(-1, channels).mean(axis=1, dtype=np.float32), rate)


def _chunks(data: bytes) -> tuple[int, int, int, int, bytes]:
    """Format, channels, rate, bits and the samples' bytes; a file that is cut off has less."""
    at, head = 12, None
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        chunk = data[at + 8 : at + 8 + length]
        if name == b"fmt " and len(chunk) >= 16:
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
            if kind == EXTENSIBLE and len(chunk) >= 26:
                kind = int.from_bytes(chunk[24:26], "little")
            head = (kind, channels, rate, bits)
        elif name == b"data" and head is not None:
            return (*head, chunk)
        at += 8 + length + length % 2
    raise BadInput(WANTED)


def _decode(kind: int, bits: int, body: bytes) -> Samples:
    if kind == PCM and bits == 8:
        return np.asarray(
            (np.frombuffer(body, np.uint8).astype(np.float32) - 128) / 128, np.float32
        )
    if kind == PCM and bits in (16, 32):
        return (np.frombuffer(body, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)
    if kind == PCM and bits == 24:
        parts = np.frombuffer(body, np.uint8).reshape(-1, 3).astype(np.int32)
        values = parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16
        return np.asarray(((values ^ 0x800000) - 0x800000) / 2**23, np.float32)
    if kind == FLOAT and bits in (32, 64):
        values = np.frombuffer(body, f"<f{bits // 8}")
        return np.asarray(np.nan_to_num(values, posinf=0, neginf=0).clip(-1e3, 1e3), np.float32)
    if kind == MULAW and bits == 8:
        return _from_mulaw(np.frombuffer(body, np.uint8))
    raise BadInput(WANTED)


def to_wav(sound: Sound, *, encoding: str = "linear16") -> bytes:
    """The sound as a file, of 16 bits or of mu-law."""
    if encoding == "mulaw":
        kind, bits, body = MULAW, 8, _to_mulaw(sound.samples).tobytes()
    else:
        kind, bits = PCM, 16
        body = np.rint(sound.samples.clip(-1, 1) * 32767).astype("<i2").tobytes()
    size = bits // 8
    head = struct.pack("<HHIIHH", kind, 1, sound.rate, sound.rate * size, size, bits)
    padding = b"\0" * (len(body) % 2)
    chunks = b"fmt " + struct.pack("<I", len(head)) + head
    chunks += b"data" + struct.pack("<I", len(body)) + body + padding
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _to_mulaw(samples: Samples) -> NDArray[np.uint8]:
    """G.711: sign, three bits of exponent and four of mantissa, all inverted."""
    magnitude = np.rint(np.abs(samples.clip(-1, 1)) * 8158).astype(np.int32) + 33
    exponent = np.floor(np.log2(magnitude.clip(33, 8191))).astype(np.int32) - 5
    mantissa = (magnitude.clip(33, 8191) >> (exponent + 1)) & 15
    sign = np.where(samples < 0, 0x80, 0)
    return np.asarray(~(sign | exponent << 4 | mantissa) & 0xFF, np.uint8)


def _from_mulaw(codes: NDArray[np.uint8]) -> Samples:
    values = ~codes.astype(np.int32) & 0xFF
    exponent, mantissa = values >> 4 & 7, values & 15
    magnitude = ((mantissa * 2 + 33) << exponent) - 33
    return np.asarray(np.where(values & 0x80, -magnitude, magnitude) / 8158, np.float32)
