"""Text as a sequence of tones, and back.

A text begins with a tone of its own and ends with another. In between every byte of the text sounds
for a moment as two tones at once: one of 16 low ones for its upper half, one of 16 high ones for
its lower half, as telephones dial. A space is silence, so that words can be heard apart. All tones
fit into what a telephone carries, so any sample rate from 8 kHz on is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.sound import Samples, Sound

MARK_S = 0.10  # the first and the last tone
BYTE_S = 0.04
FADE_S = 0.004  # in and out of each tone, or it would click
BEGIN_HZ, END_HZ = 480.0, 3440.0
LOW_HZ = 640.0 + 80.0 * np.arange(16)
HIGH_HZ = 2000.0 + 80.0 * np.arange(16)
ALL_HZ = np.concatenate([LOW_HZ, HIGH_HZ, [BEGIN_HZ, END_HZ]])
BEGIN, END = len(ALL_HZ) - 2, len(ALL_HZ) - 1
LOUDNESS = 0.8
HEARD_S = 0.03  # of each byte; what is left keeps neighbours out
STEP_S = 0.002  # how finely the beginning is looked for
QUIET = 0.2  # times the loudness of the mark: what is less is silence
AT_ONCE = 2_000_000  # samples that are looked at together: a long sound needs no more memory
LEAST = 1e-4  # the loudness of a mark at least
PURE = 0.5  # the share of the loudness that the mark has itself


@dataclass(frozen=True)
class Word:
    """A word and when it was said, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Heard:
    """What was understood."""

    text: str
    words: tuple[Word, ...]


def say(text: str, *, rate: int) -> Sound:
    """The text as sound."""
    tones = [_tone([BEGIN_HZ], MARK_S, rate)]
    begins = MARK_S
    parts = [(0.0, tones[0])]
    for byte in text.encode():
        if byte != ord(" "):
            parts.append((begins, _tone([LOW_HZ[byte >> 4], HIGH_HZ[byte & 15]], BYTE_S, rate)))
        begins += BYTE_S
    parts.append((begins, _tone([END_HZ], MARK_S, rate)))
    samples = np.zeros(round((begins + MARK_S) * rate) + 1, np.float32)
    for start, tone in parts:
        at = round(start * rate)
        samples[at : at + len(tone)] += tone[: len(samples) - at]
    return Sound(samples, rate)


def hear(sound: Sound) -> Heard:
    """The text in a sound; none where no mark is found."""
    start, loudness = _beginning(sound)
    if not loudness:
        return Heard("", ())
    values = bytes(_bytes(sound, start, loudness))
    return Heard(values.decode("utf-8", "replace"), tuple(_words(values, start)))


def _tone(frequencies: list[float], seconds: float, rate: int) -> Samples:
    at = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * frequency * at) for frequency in frequencies)
    fade = np.minimum(1, np.minimum(at, seconds - at) / FADE_S)
    return (wave * fade * LOUDNESS / len(frequencies)).astype(np.float32)


def _beginning(sound: Sound) -> tuple[float, float]:
    """When the first byte begins, and how loud the mark before it is; 0, 0 without a mark."""
    width, step = round(HEARD_S * sound.rate), max(1, round(STEP_S * sound.rate))
    if len(sound.samples) < width:
        return 0.0, 0.0
    starts = np.arange(0, len(sound.samples) - width + 1, step)
    loud = np.empty(len(starts))
    pure = np.empty(len(starts))
    some_starts = max(1, AT_ONCE // width)
    for first in range(0, len(starts), some_starts):
        some = starts[first : first + some_starts]
        windows = sound.samples[some[:, None] + np.arange(width)[None, :]]
        loud[first : first + some_starts] = _strengths(windows, sound.rate, [BEGIN])[:, 0]
        pure[first : first + some_starts] = np.sqrt(2 * (windows**2).mean(axis=1)) + 1e-12
    is_mark = (loud > LEAST) & (loud / pure > PURE)
    if not is_mark.any():
        return 0.0, 0.0
    loudest = loud[is_mark].max()
    first = int(np.argmax(is_mark & (loud > 0.9 * loudest)))
    until = first + int(1.5 * MARK_S / STEP_S)
    within = loud[first:until]
    # The mark is half as loud where half of a window lies in it: on its way in and on its way out.
    half = within.max() / 2
    leaves = np.nonzero(within < half)[0]
    last = first + int(leaves[0] if len(leaves) else len(within) - 1)
    return float(starts[last] + width / 2) / sound.rate, float(loudest)


def _bytes(sound: Sound, start: float, loudness: float) -> Iterator[int]:
    """Byte after byte, until the last tone or the end of the sound."""
    width = round(HEARD_S * sound.rate)
    count = int((sound.seconds - start) / BYTE_S)
    begins = start + np.arange(count) * BYTE_S + (BYTE_S - HEARD_S) / 2
    at = np.rint(begins * sound.rate).astype(np.int64)
    at = at[at + width <= len(sound.samples)]
    some = max(1, AT_ONCE // width)
    for first in range(0, len(at), some):
        windows = sound.samples[at[first : first + some, None] + np.arange(width)[None, :]]
        strengths = _strengths(windows, sound.rate, list(range(len(ALL_HZ))))
        low, high, end = strengths[:, :16], strengths[:, 16:32], strengths[:, END]
        best = np.maximum(low.max(axis=1), high.max(axis=1))
        for row in range(len(windows)):
            if end[row] > max(best[row], QUIET * loudness):
                return
            if best[row] < QUIET * loudness:
                yield ord(" ")
            else:
                yield int(low[row].argmax()) << 4 | int(high[row].argmax())


def _strengths(windows: NDArray[np.float32], rate: int, numbers: list[int]) -> NDArray[np.float64]:
    """How loud each of these tones is in each window."""
    width = windows.shape[1]
    at = np.arange(width) / rate
    hann = np.hanning(width)
    waves = np.exp(-2j * np.pi * ALL_HZ[numbers][None, :] * at[:, None]) * hann[:, None]
    return np.asarray(np.abs(windows @ waves) * 2 / hann.sum())


def _words(values: bytes, start: float) -> Iterator[Word]:
    """What stands between white space, and when it sounds."""
    at = 0
    for word in values.replace(b"\t", b" ").replace(b"\r", b" ").replace(b"\n", b" ").split(b" "):
        if word:
            begins = start + at * BYTE_S
            text = word.decode("utf-8", "replace")
            yield Word(text, begins, begins + len(word) * BYTE_S)
        at += len(word) + 1
