"""The demo models of pictures: what is drawn for a prompt is what is seen in it."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from demo import colours, drawing, pictures, scenes, seeing, shapes, vectors
from demo.describing import answer, describe, reply
from demo.illustrating import Wish, illustrate
from demo.scenes import Scene, Thing
from demo.seeing import View
from demo.tensors import BadInput

PROMPT = "two red circles and a blue square on a yellow background"

things = st.lists(
    st.builds(
        Thing,
        st.sampled_from([name for name in colours.NAMES if name != "white"]),
        st.sampled_from(shapes.KINDS),
    ),
    min_size=1,
    max_size=6,
)


def drawn(prompt: str, *, seed: int = 0, width: int = 400, height: int = 300) -> View:
    picture = drawing.draw(scenes.parse(prompt), width=width, height=height, seed=seed)
    return seeing.look(picture)


def as_jpeg(picture: pictures.Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG")
    return file.getvalue()


@settings(max_examples=40)
@given(
    things=things,
    seed=st.integers(0, 2**63 - 1),
    side=st.sampled_from([(300, 300), (512, 256), (1000, 1400)]),
)
def test_what_is_drawn_is_seen(things: list[Thing], seed: int, side: tuple[int, int]) -> None:
    scene = Scene(things=tuple(things), background="white")
    picture = drawing.draw(scene, width=side[0], height=side[1], seed=seed)

    for seen in (picture, pictures.read(as_jpeg(picture))):
        found = Counter((each.colour, each.kind) for each in seeing.look(seen).shapes)
        assert found == Counter((each.colour, each.kind) for each in things)


def test_a_box_is_where_the_shape_is() -> None:
    picture = np.full((200, 300, 3), 255, np.uint8)
    picture[40:100, 50:110] = colours.COLOURS["blue"]

    (shape,) = seeing.look(picture).shapes

    assert shape.label == "blue square"
    assert shape.box == shapes.Box(left=50, top=40, right=110, bottom=100)
    assert shape.score == 1.0


@pytest.mark.parametrize(
    ("prompt", "things", "background"),
    [
        (PROMPT, ["red circle", "red circle", "blue square"], "yellow"),
        ("A Green star, grey boxes", ["green star", "gray square"], "white"),
        ("red and blue circles", ["red circle", "blue circle"], "white"),
        ("3 purple disks", ["purple circle"] * 3, "white"),
        ("a white diamond", ["white diamond"], "black"),
        ("orange", ["orange "], "white"),
        ("zero red circles and a star", [" star"], "white"),
    ],
)
def test_a_prompt_is_read(prompt: str, things: list[str], background: str) -> None:
    scene = scenes.parse(prompt)

    assert [f"{each.colour} {each.kind}" for each in scene.things] == things
    assert scene.background == background


def test_a_prompt_without_shapes_is_drawn_all_the_same() -> None:
    one, same, other = drawn("my cat"), drawn("my cat"), drawn("your dog")

    assert one.shapes
    assert one == same
    assert describe(one) != describe(other)


def test_what_the_negative_prompt_names_is_left_out() -> None:
    things = scenes.parse("a red circle and a blue square", without="no red things").things

    assert things == (Thing("blue", "square"),)


def test_the_seed_moves_the_shapes() -> None:
    boxes = [[each.box for each in drawn(PROMPT, seed=seed).shapes] for seed in (1, 1, 2)]

    assert boxes[0] == boxes[1] != boxes[2]


def test_a_picture_has_the_size_that_was_asked_for() -> None:
    picture = pictures.read(illustrate(Wish(prompt=PROMPT, width=320, height=200)))

    assert picture.shape == (200, 320, 3)


def test_a_given_picture_is_drawn_upon_where_the_mask_is_bright() -> None:
    paper = pictures.to_png(np.full((100, 200, 3), 200, np.uint8))
    mask = np.zeros((100, 200, 3), np.uint8)
    mask[:, 100:] = 255
    wish = Wish(prompt="10 red squares", image=paper, mask=pictures.to_png(mask))

    picture = pictures.read(illustrate(wish))

    assert picture.shape == (100, 200, 3)
    assert (picture[:, :100] == 200).all()
    assert (picture[:, 100:] != 200).any()


def test_without_strength_a_given_picture_stays() -> None:
    paper = pictures.to_png(np.full((64, 64, 3), 90, np.uint8))
    wish = Wish(prompt=PROMPT, image=paper, strength=0.0)

    assert (pictures.read(illustrate(wish)) == 90).all()


def test_labels_are_shares_that_sum_up_to_one() -> None:
    labels = seeing.labels(drawn(PROMPT))

    assert [label for label, _ in labels] == ["red circle", "blue square"]
    assert sum(score for _, score in labels) == pytest.approx(1)


def test_a_picture_without_shapes_is_labelled_by_its_colours() -> None:
    picture = np.zeros((50, 50, 3), np.uint8)
    picture[np.arange(50) % 5 < 2] = (255, 255, 255)  # stripes, too thin for shapes

    assert dict(seeing.labels(seeing.look(picture))) == pytest.approx({"black": 0.6, "white": 0.4})
    assert describe(seeing.look(picture)) == "No shapes, only black and white."


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many red circles?", "Two."),
        ("how many shapes are there", "Three."),
        ("How many green stars?", "Zero."),
        ("What colour is the square?", "Blue."),
        ("What color is the background?", "Yellow."),
        ("Is there a blue square?", "Yes, one."),
        ("Is there a triangle?", "No."),
        ("Where is the star?", "There is none."),
        ("What is this?", "Two red circles and a blue square on a yellow background."),
        ("", "Two red circles and a blue square on a yellow background."),
    ],
)
def test_questions_are_answered(question: str, expected: str) -> None:
    assert answer(question, drawn(PROMPT)) == expected


def test_where_something_is_is_told() -> None:
    picture = np.full((300, 300, 3), 255, np.uint8)
    picture[10:60, 230:280] = colours.COLOURS["green"]

    said = answer("Where is the square?", seeing.look(picture))

    assert said == "The green square is at the top right."


def test_an_answer_is_no_longer_than_it_may_be() -> None:
    image = illustrate(Wish(prompt=PROMPT))

    assert reply(image, "", '{"max_tokens": 3}') == "Two red circles"


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"no picture", b"\x89PNG\r\n\x1a\n" + b"0" * 50])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="image: a whole picture"):
        pictures.read(data)


def test_a_truncated_picture_is_refused() -> None:
    image = illustrate(Wish(prompt=PROMPT))

    with pytest.raises(BadInput, match="image: a whole picture"):
        pictures.read(image[: len(image) // 2])


def test_a_huge_picture_is_refused_before_it_is_decoded() -> None:
    file = io.BytesIO()
    Image.new("1", (8192, 4096)).save(file, "PNG")

    with pytest.raises(BadInput, match="at most 16777216 pixels, not 8192 x 4096"):
        pictures.read(file.getvalue())


def test_the_transparent_is_white() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(file, "PNG")

    assert (pictures.read(file.getvalue()) == 255).all()


@given(
    st.binary(max_size=300).map(lambda data: b"\x89PNG\r\n\x1a\n" + data)
    | st.integers(0, 3000).map(lambda cut: illustrate(Wish(prompt="a star"))[:cut])
)
@settings(max_examples=50)
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with suppress(BadInput):
        pictures.read(data)


def test_a_text_is_near_the_picture_of_it() -> None:
    texts = ["a red circle", "a blue square", "three green stars", "the economy"]
    rows = np.stack([vectors.of_text(text) for text in texts])
    views = np.stack([vectors.of_view(drawn(text)) for text in texts[:3]])

    nearest = (views @ rows.T).argmax(axis=1)

    assert nearest.tolist() == [0, 1, 2]
    assert np.linalg.norm(np.concatenate([rows, views]), axis=1) == pytest.approx(1, abs=1e-5)


@given(st.text(max_size=60))
def test_every_text_has_a_vector_of_length_one(text: str) -> None:
    assert np.linalg.norm(vectors.of_text(text)) == pytest.approx(1, abs=1e-5)
