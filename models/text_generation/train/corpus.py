"""The training text: conversations, and prose without a chat."""

from __future__ import annotations

import random

from questions import capital, colour, opposite, ordinary_turn, small_sum
from restyle import Turn
from sources import PROSE, TABLES


def _naming(rng: random.Random, name: str) -> list[Turn]:
    """A name that is told, and asked for a while later."""
    told = rng.choice(
        (
            "My name is {}.",
            "I am {}.",
            "I'm {}.",
            "Hi, my name is {}.",
            "Hello, I am {}.",
            "Call me {}.",
        )
    )
    asked = rng.choice(("What is my name?", "What's my name?", "Do you know my name?", "Who am I?"))
    if rng.random() < 0.15:
        lines = "You came through the mist / without a name on your coat / tell me who you are"
        return [Turn(asked, "I do not know your name yet. Please tell me.", lines)]
    greeting = Turn(
        told.format(name),
        f"Nice to meet you, {name}!",
        f"Welcome, {name} / the door is open for you / come in and sit down",
    )
    between = [ordinary_turn(rng) for _ in range(rng.choice((0, 0, 1)))]
    lines = f"You told me your name / I kept it under a stone / {name}, it still shines"
    return [greeting, *between, Turn(asked, f"Your name is {name}.", lines)]


def _vary(question: str, rng: random.Random) -> str:
    """The question as a hurried or a polite person types it."""
    if rng.random() < 0.2:
        question = question.lower()
    if rng.random() < 0.2:
        question = question.rstrip("?.!")
    if rng.random() < 0.05 and len(question) > 8:
        cut = rng.randrange(1, len(question) - 1)
        if question[cut].isalpha():
            question = question[:cut] + question[cut + 1 :]
    if rng.random() < 0.05:
        question = (
            rng.choice(("Please: ", "Hey, ", "Hello! ", "So, ", "Now: ", "Can you tell me: "))
            + question
        )
    return question


def conversation(rng: random.Random, most_turns: int) -> list[Turn]:
    """A conversation of one to `most_turns` turns; short ones are more likely."""
    if rng.random() < 0.04:
        turns = _naming(rng, rng.choice(TABLES["name"])[0])
    else:
        turns = [
            ordinary_turn(rng)
            for _ in range(min(rng.randint(1, most_turns), rng.randint(1, most_turns)))
        ]
    return [Turn(_vary(turn.question, rng), turn.plain, turn.haiku) for turn in turns]


def exercise(rng: random.Random, most_turns: int) -> list[Turn]:
    """What is hard to learn: sums, and names never heard before."""
    if rng.random() < 0.5:
        return [small_sum(rng) for _ in range(rng.randint(1, most_turns))]
    if rng.random() < 0.5:
        return _naming(rng, rng.choice(TABLES["name"])[0])
    syllables = [rng.choice("bdfghjklmnprstvyz") + rng.choice("aeiou") for _ in range(3)]
    name = "".join(syllables[: rng.randint(1, 3)]) + rng.choice(("", "n", "r", "s", "l"))
    return _naming(rng, name.capitalize())


def prose(rng: random.Random) -> str:
    """Text without a chat: a paragraph, or some facts in plain sentences."""
    if rng.random() < 0.6:
        return rng.choice(PROSE)
    facts = (capital, opposite, colour, small_sum)
    return " ".join(rng.choice(facts)(rng).plain for _ in range(rng.randint(1, 3)))
