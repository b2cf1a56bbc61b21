"""The demo models of speech: what is said is what is heard, whatever was done to the sound."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo import sound, tones
from demo.sound import Sound
from demo.speaking import speak
from demo.tensors import BadInput

TEXT = "Hello world, how are you?"


def changed(
    spoken: Sound,
    *,
    volume: float = 1.0,
    noise: float = 0.0,
    lead_s: float = 0.0,
    rate: int = 0,
) -> Sound:
    """The sound louder, noisier, later, or at another rate; noise is in shares of the loudness."""
    samples = spoken.samples
    if rate:
        count = round(spoken.seconds * rate)
        at = np.arange(count) / rate * spoken.rate
        samples = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
    rate = rate or spoken.rate
    silence = np.zeros(round(lead_s * rate), np.float32)
    samples = np.concatenate([silence, samples, silence])
    samples = samples + noise * np.random.default_rng(0).normal(size=len(samples))
    return Sound((samples * volume).astype(np.float32), rate)


@settings(max_examples=60)
@given(
    text=st.text(max_size=60),
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000]),
    encoding=st.sampled_from(["linear16", "mulaw"]),
    volume=st.floats(0.02, 1),
    noise=st.floats(0, 0.1),
    lead_s=st.floats(0, 1),
)
def test_what_is_said_is_heard(
    text: str, rate: int, encoding: str, volume: float, noise: float, lead_s: float
) -> None:
    said = changed(tones.say(text, rate=rate), volume=volume, noise=noise, lead_s=lead_s)

    heard = tones.hear(sound.read(sound.to_wav(said, encoding=encoding)))

    assert heard.text == text


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000, 32_000, 44_100])
def test_a_resampled_sound_says_the_same(rate: int) -> None:
    said = changed(tones.say(TEXT, rate=48_000), rate=rate)

    assert tones.hear(said).text == TEXT


def test_words_have_the_times_at_which_they_sound() -> None:
    said = changed(tones.say("one  two\nthree", rate=16_000), lead_s=0.5)

    words = tones.hear(said).words

    assert [word.text for word in words] == ["one", "two", "three"]
    assert [word.start for word in words] == pytest.approx([0.6, 0.8, 0.96], abs=0.005)
    assert [word.end for word in words] == pytest.approx([0.72, 0.92, 1.16], abs=0.005)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(0), np.zeros(100), np.zeros(16_000), np.random.default_rng(1).normal(size=16_000)],
    ids=["nothing", "too short", "silence", "noise"],
)
def test_where_nothing_is_said_nothing_is_heard(samples: np.ndarray[tuple[int], np.dtype]) -> None:
    assert tones.hear(Sound(samples.astype(np.float32), 16_000)).text == ""


def test_a_sound_that_is_cut_off_says_its_beginning() -> None:
    said = tones.say(TEXT, rate=16_000)
    half = Sound(said.samples[: len(said.samples) // 2], said.rate)

    assert TEXT.startswith(tones.hear(half).text)
    assert len(tones.hear(half).text) > 8


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ((1, 1, 8), bytes([0, 128, 255]), [-1, 0, 127 / 128]),
        ((1, 1, 16), np.array([-32768, 0, 16384], "<i2").tobytes(), [-1, 0, 0.5]),
        ((1, 1, 24), b"\x00\x00\x80\x00\x00\x40", [-1, 0.5]),
        ((1, 1, 32), np.array([2**30], "<i4").tobytes(), [0.5]),
        ((3, 1, 32), np.array([0.25, np.nan], "<f4").tobytes(), [0.25, 0]),
        ((1, 2, 16), np.array([16384, 0, 0, 0], "<i2").tobytes(), [0.25, 0]),
        ((7, 1, 8), bytes([0xFF, 0x80, 0x00]), [0, 0.9846, -0.9846]),
    ],
    ids=["8 bits", "16 bits", "24 bits", "32 bits", "float", "stereo", "mu-law"],
)
def test_the_usual_wav_files_are_read(
    head: tuple[int, int, int], body: bytes, expected: list[float]
) -> None:
    kind, channels, bits = head
    form = b"".join(
        value.to_bytes(size, "little")
        for value, size in [(kind, 2), (channels, 2), (8_000, 4), (0, 4), (0, 2), (bits, 2)]
    )
    chunks = [(b"LIST", b"odd"), (b"fmt ", form), (b"data", body)]
    data = b"".join(
        name + len(chunk).to_bytes(4, "little") + chunk + b"\0" * (len(chunk) % 2)
        for name, chunk in chunks
    )

    read = sound.read(b"RIFF" + (4 + len(data)).to_bytes(4, "little") + b"WAVE" + data)

    assert read.samples.tolist() == pytest.approx(expected, abs=1e-3)


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda d: speak("hi")[:40] + d))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with suppress(BadInput):
        tones.hear(sound.read(data))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "mp3"}, "encoding: one of linear16, mulaw, not 'mp3'"),
        ({"container": "ogg"}, "container: wav, not 'ogg'"),
        ({"rate": 4_000}, "sample_rate: 8000 to 48000, not 4000"),
    ],
)
def test_what_cannot_be_spoken_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        speak("hi", **options)  # type: ignore[arg-type]


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(BadInput, match="text: at most 4000 bytes, not 4002"):
        speak("ä" * 2001)
