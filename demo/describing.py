"""What a picture shows, in words, and answers to questions about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from demo import colours, pictures, scenes, shapes
from demo.seeing import View, look
from demo.shapes import Shape
from demo.tensors import BadInput

MOST_WORDS = 512  # a word counts as a token
THIRDS = (("top", "middle", "bottom"), ("left", "middle", "right"))


def describe(view: View) -> str:
    """Return a sentence that names everything, what there is most of first."""
    counts = Counter((each.colour, each.kind) for each in view.shapes)
    named = [_so_many(count, colour, kind) for (colour, kind), count in counts.most_common()]
    if not named:
        main = [name for name, share in view.shares.items() if share >= 0.1]
        return f"No shapes, only {_listed(main or list(view.shares)[:1])}."
    text = f"{_listed(named)} on a {view.background} background."
    return text[0].upper() + text[1:]


def answer(question: str, view: View) -> str:
    """Return the answer to a question; for what is not understood, the description."""
    tokens = scenes.words(question)
    found = _meant(tokens, view.shapes)
    if "how" in tokens and "many" in tokens:
        return _number(len(found)).capitalize() + "."
    if {"color", "colour", "colors", "colours"} & set(tokens):
        return _colours(tokens, found, view)
    if "where" in tokens:
        places = [f"the {each.label} is at the {_place(each, view)}" for each in found]
        return _sentence(_listed(places)) if places else "There is none."
    if tokens[:1] and tokens[0] in ("is", "are", "does", "do") and _names_any(tokens):
        return f"Yes, {_number(len(found))}." if found else "No."
    return describe(view)


def reply(image: bytes, prompt: str, sampling: str) -> str:
    """Return what a model says of an image file; `sampling` is JSON, or nothing."""
    try:
        most_words = int(json.loads(sampling or "{}").get("max_tokens", MOST_WORDS))
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput("sampling_parameters: JSON with a whole number max_tokens") from error
    text = answer(prompt, look(pictures.read(image)))
    words = text.split()
    return text if len(words) <= most_words else " ".join(words[: max(0, most_words)])


def _names_any(tokens: Sequence[str]) -> bool:
    return any(
        colours.named(each) or shapes.named(each) or each.startswith("shape") for each in tokens
    )


def _meant(tokens: Sequence[str], found: Sequence[Shape]) -> list[Shape]:
    """The shapes of the colours and kinds that the words name; all of them if they name none."""
    names = {colours.named(each) for each in tokens} - {""}
    kinds = {shapes.named(each) for each in tokens} - {""}
    return [
        each
        for each in found
        if (not names or each.colour in names) and (not kinds or each.kind in kinds)
    ]


def _colours(tokens: Sequence[str], found: Sequence[Shape], view: View) -> str:
    """Which colour the shapes meant have, or the background."""
    if "background" in tokens:
        return f"{view.background.capitalize()}."
    names = list(dict.fromkeys(each.colour for each in found))
    return _sentence(_listed(names)) if names else "There is none."


def _place(shape: Shape, view: View) -> str:
    """Where in the picture the middle of a shape is."""
    box = shape.box
    down = THIRDS[0][min(2, (box.top + box.bottom) * 3 // (2 * view.height))]
    across = THIRDS[1][min(2, (box.left + box.right) * 3 // (2 * view.width))]
    return down if down == across else f"{down} {across}"


def _so_many(count: int, colour: str, kind: str) -> str:
    article = "an" if colour[0] in "aeiou" else "a"
    if count == 1:
        return f"{article} {colour} {kind}"
    return f"{_number(count)} {colour} {shapes.plural(kind)}"


def _number(count: int) -> str:
    return scenes.NUMBERS[count] if count < len(scenes.NUMBERS) else str(count)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
