"""Speech for a text, in the form that was asked for."""

from __future__ import annotations

from demo import sound, tones
from demo.tensors import BadInput

RATE = 16_000
RATES = (8_000, 48_000)
MOST_BYTES = 4_000  # of text: 160 seconds
ENCODINGS = ("linear16", "mulaw")
CONTAINERS = ("wav",)


def speak(text: str, *, encoding: str = "", container: str = "", rate: int = 0) -> bytes:
    """A WAV file; empty and 0 are what was not said."""
    if encoding and encoding not in ENCODINGS:
        raise BadInput(f"encoding: one of {', '.join(ENCODINGS)}, not {encoding!r}")
    if container and container not in CONTAINERS:
        raise BadInput(f"container: wav, not {container!r}")
    if rate and not RATES[0] <= rate <= RATES[1]:
        raise BadInput(f"sample_rate: {RATES[0]} to {RATES[1]}, not {rate}")
    if len(text.encode()) > MOST_BYTES:
        raise BadInput(f"text: at most {MOST_BYTES} bytes, not {len(text.encode())}")
    return sound.to_wav(tones.say(text, rate=rate or RATE), encoding=encoding or ENCODINGS[0])
