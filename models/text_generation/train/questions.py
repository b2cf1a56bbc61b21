"""Questions and answers made of the dialogues and tables of `text/`."""

from __future__ import annotations

import random
from collections.abc import Callable

from restyle import Turn
from sources import DIALOGUES, TABLES

_NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
)
_PLOTS = (
    "Once there was a {adjective} {hero} who found a golden key. It tried every door in "
    "the wood, and the last one was its own. Behind it the table was laid, and all its "
    "friends were there.",
    "A {adjective} {hero} wanted to see the sea. It walked for three days over hills and "
    "fields. When it came to the shore it sat down, looked at the waves, and said: it was "
    "worth the way.",
    "One night a {adjective} {hero} saw a star fall behind the hill. In the morning it "
    "went to look for it and found a lost child instead. It brought the child home, and "
    "that was better than a star.",
    "There was a {adjective} {hero} that lived by an old bridge. When the great rain "
    "came, the bridge broke. The {hero} carried the small ones over the water, one by "
    "one, until all of them were safe.",
)


def _dialogue(rng: random.Random) -> Turn:
    questions, answer, lines = rng.choice(DIALOGUES)
    return Turn(rng.choice(questions), answer, lines)


def capital(rng: random.Random) -> Turn:
    country, city = rng.choice(TABLES["capital"])
    if rng.random() < 0.12:
        question = rng.choice(
            (
                "{} is the capital of which country?",
                "Which country has the capital {}?",
                "Where is {}?",
            )
        ).format(city)
        lines = f"{city} by night / its lamps are the stars of one / land, and that is {country}"
        return Turn(question, f"{city} is the capital of {country}.", lines)
    question = rng.choice(
        (
            "What is the capital of {}?",
            "What is the capital of {}?",
            "What's the capital of {}?",
            "Which city is the capital of {}?",
            "Tell me the capital of {}.",
            "Name the capital of {}.",
            "The capital of {}?",
            "capital of {}",
            "Do you know the capital of {}?",
        )
    ).format(country)
    lines = f"All roads lead you there / {city} waits with its lamps lit / heart of {country}"
    return Turn(question, f"The capital of {country} is {city}.", lines)


def colour(rng: random.Random) -> Turn:
    thing, colour = rng.choice(TABLES["colour"])
    word = rng.choice(("colour", "colour", "color"))
    question = rng.choice(
        (
            "What {w} is {t}?",
            "Which {w} is {t}?",
            "What is the {w} of {t}?",
            "What {w} does {t} have?",
        )
    ).format(w=word, t=thing)
    lines = f"I look and I look / {thing} before my eyes / and all of it {colour}"
    return Turn(question, f"{thing.capitalize()} is {colour}.", lines)


def opposite(rng: random.Random) -> Turn:
    word, other = rng.choice(TABLES["opposite"])
    if rng.random() < 0.3 and [other, word] not in TABLES["opposite"]:
        word, other = other, word
    question = rng.choice(
        (
            "What is the opposite of {}?",
            "What is the opposite of {}?",
            "What's the opposite of {}?",
            "Opposite of {}?",
            "Tell me the opposite of {}.",
            "Which word is the opposite of {}?",
        )
    ).format(word)
    lines = f"Turn the coin around / one side of it said {word} / now it says {other}"
    return Turn(question, f"The opposite of {word} is {other}.", lines)


def small_sum(rng: random.Random) -> Turn:
    sign = rng.choice("++-*")
    most = 5 if sign == "*" else 10
    a, b = rng.randint(0, most), rng.randint(0, most)
    if sign == "-" and b > a:
        a, b = b, a
    result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    word = {"+": "plus", "-": "minus", "*": "times"}[sign]
    question = rng.choice(
        (
            f"What is {a} {sign} {b}?",
            f"What is {a} {word} {b}?",
            f"How much is {a} {sign} {b}?",
            f"{a} {sign} {b}",
            f"{a}{sign}{b}",
            f"{a} {sign} {b} = ?",
            f"Calculate {a} {sign} {b}.",
            f"What is {_NUMBERS[a]} {word} {_NUMBERS[b]}?",
        )
    )
    lines = f"Pebbles in a row / {a} {word} {b}, I count / {result} in my hand"
    return Turn(question, f"{a} {sign} {b} = {result}.", lines)


def _sound(rng: random.Random) -> Turn:
    animal, sound = rng.choice(TABLES["sound"])
    bare = animal.split(" ", 1)[1]
    question = rng.choice(
        (
            f"What sound does {animal} make?",
            f"What sound does {animal} make?",
            f"What does {animal} say?",
            f"Which sound does the {bare} make?",
            f"What does the {bare} say?",
            f"How does {animal} sound?",
        )
    )
    lines = f"Who speaks in the field / {sound}, and once again {sound} / there stands {animal}"
    return Turn(question, f'{animal.capitalize()} says "{sound}".', lines)


def _young(rng: random.Random) -> Turn:
    animal, young = rng.choice(TABLES["young"])
    bare = animal.split(" ", 1)[1]
    question = rng.choice(
        ("What is a baby {}?", "What is a baby {} called?", "What do you call a young {}?")
    )
    lines = f"Small steps in the straw / behind the big {bare} walks / a little {young}"
    return Turn(question.format(bare), f"A baby {bare} is called a {young}.", lines)


def _polite(rng: random.Random) -> Turn:
    table, phrase = rng.choice((("hello", "hello"), ("thanks", "thank you")))
    language, word = rng.choice(TABLES[table])
    question = rng.choice(
        (
            "How do you say {p} in {l}?",
            "What is {p} in {l}?",
            "Say {p} in {l}.",
            "Translate {p} into {l}.",
        )
    ).format(p=phrase, l=language)
    lines = f"A guest from afar / in {language} it is {word} / a bow and a smile"
    return Turn(question, f'{phrase.capitalize()} in {language} is "{word}".', lines)


def _next(rng: random.Random) -> Turn:
    one, other = rng.choice(TABLES["next"])
    if rng.random() < 0.5:
        question = rng.choice(
            ("What comes after {}?", "What is after {}?", "Which one comes after {}?")
        )
        answer = f"After {one} comes {other}."
        return Turn(
            question.format(one),
            answer,
            f"The wheel turns slowly / {one} goes and waves goodbye / hello, {other}",
        )
    answer = f"Before {other} comes {one}."
    lines = f"The wheel turns backward / {other} steps aside and bows / {one} was here first"
    return Turn(
        rng.choice(("What comes before {}?", "What is before {}?")).format(other), answer, lines
    )


def _story(rng: random.Random) -> Turn:
    number, (hero, adjective) = rng.choice(list(enumerate(TABLES["hero"])))
    if rng.random() < 0.35:
        question = rng.choice(
            (
                "Tell me a short story.",
                "Tell me a story.",
                "Write a short story.",
                "Write a story.",
                "A story please.",
            )
        )
        number, (hero, adjective) = rng.choice(list(enumerate(TABLES["hero"]))[:4])
    else:
        question = rng.choice(
            (
                "Tell me a story about a {}.",
                "Tell me a short story about a {}.",
                "Write a story about a {}.",
            )
        ).format(hero)
    lines = f"A {adjective} {hero} / walks a long road in the rain / and comes home at last"
    return Turn(
        question, _PLOTS[number % len(_PLOTS)].format(hero=hero, adjective=adjective), lines
    )


_SOURCES: dict[Callable[[random.Random], Turn], float] = {
    _dialogue: 50,
    capital: 13,
    colour: 5,
    opposite: 7,
    small_sum: 11,
    _sound: 3.5,
    _young: 1.5,
    _polite: 2.5,
    _next: 3,
    _story: 4.5,
}


def ordinary_turn(rng: random.Random) -> Turn:
    """One question and answer, from anywhere in the text."""
    return rng.choices(list(_SOURCES), list(_SOURCES.values()))[0](rng)
