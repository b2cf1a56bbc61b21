"""The demo models of texts: translation, summaries, sentiment, relevance."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.ranking import relevance
from demo.sentiment import Sentiment, features
from demo.summary import sentences, summarize
from demo.tensors import BadInput
from demo.translation import LANGUAGES, Dictionary

MODELS = Path(__file__).parents[2] / "models"
DICTIONARY = Dictionary.read(MODELS / "translation" / "1" / "words.tsv")
SENTIMENT = Sentiment.read(MODELS / "text_classification" / "1" / "sentiment.json")
SUN = (
    "The sun gives light to the whole planet. Plants turn the light of the sun into sugar. "
    "Dr. Ada has a cat. Solar panels turn light of the sun into power, and power is what "
    "cities need. It rained on Tuesday."
)


@pytest.mark.parametrize(
    ("text", "source", "target", "expected"),
    [
        ("Good morning, the cat sleeps!", "en", "fr", "Bonjour, le chat dort!"),
        ("The dog drinks WATER.", "english", "de", "Der Hund trinkt WASSER."),
        ("Der Hund trinkt Wasser.", "de", "en", "The dog drinks water."),
        ("la casa blanca", "es", "fr", "la maison blanca"),
        ("Thank you. My friend Bob reads.", "en-US", "es", "Gracias. Mi amigo Bob lee."),
        ("l\u2019eau", "fr", "en", "the water"),
        ("I see I", "en", "fr", "Je voir je"),
        ("", "en", "fr", ""),
    ],
)
def test_words_are_translated(text: str, source: str, target: str, expected: str) -> None:
    assert DICTIONARY.translate(text, source, target) == expected


@given(st.text(), st.sampled_from(list(LANGUAGES)), st.sampled_from(list(LANGUAGES)))
def test_unknown_words_and_white_space_stay(text: str, source: str, target: str) -> None:
    told = DICTIONARY.translate(f"xyzzy {text}", source, target)

    assert told.startswith("xyzzy ")
    assert [each for each in told if each.isspace()].count("\n") == text.count("\n")


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(BadInput, match=r"target_lang: one of en \(english\), .*, not 'klingon'"):
        DICTIONARY.translate("a", "en", "klingon")


def test_every_entry_has_every_language() -> None:
    lines = (MODELS / "translation" / "1" / "words.tsv").read_text().splitlines()

    assert len(lines) > 300
    assert all(len([each for each in line.split("\t") if each.strip()]) == 4 for line in lines)


def test_a_summary_has_the_sentences_that_say_most() -> None:
    summary = summarize(SUN, most_words=100)

    assert summary == (
        "Plants turn the light of the sun into sugar. "
        "Solar panels turn light of the sun into power, and power is what cities need."
    )


@given(st.text(alphabet="ab .!?\n", max_size=200), st.integers(1, 20))
def test_a_summary_is_made_of_words_of_the_text_and_no_longer_than_allowed(
    text: str, most_words: int
) -> None:
    summary = summarize(text, most_words=most_words).split()

    assert len(summary) <= most_words
    assert set(summary) <= set(text.split())


def test_a_sentence_does_not_end_within_an_abbreviation_or_a_number() -> None:
    assert sentences("Dr. Ada paid 3.5 coins. She left!\n\nThen") == [
        "Dr. Ada paid 3.5 coins.",
        "She left!",
        "Then",
    ]


def test_held_out_texts_are_judged_well() -> None:
    lines = (MODELS / "text_classification" / "train" / "held_out.tsv").read_text().splitlines()
    texts = [line.split("\t", 1) for line in lines]
    right = sum((SENTIMENT.positive(text) > 0.5) == (mark == "1") for mark, text in texts)

    assert right >= 0.9 * len(texts)


def test_a_text_without_known_words_is_undecided() -> None:
    assert SENTIMENT.positive("Qwrtz") == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not good", ["not", "!good"]),
        ("It isn\u2019t good, but fine", ["it", "is", "n't", "!good", "but", "fine"]),
        ("wonderful", ["wonderful", "wonde~"]),
    ],
)
def test_denied_words_are_words_of_their_own(text: str, expected: list[str]) -> None:
    assert list(features(text)) == expected


def test_the_text_that_answers_the_query_is_ahead() -> None:
    contexts = ["Berlin is large.", "Paris is the capital of France.", "I like cats."]

    scores = relevance("What is the capital of France?", contexts)

    assert scores.index(max(scores)) == 1
    assert scores[2] == 0


@given(st.text(), st.lists(st.text()))
def test_scores_are_shares(query: str, contexts: list[str]) -> None:
    scores = relevance(query, contexts)

    assert len(scores) == len(contexts)
    assert all(0 <= score <= 1 for score in scores)
