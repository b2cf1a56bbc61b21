"""The demo language model without Triton: network, adapters, generation and chat template."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import SandboxedEnvironment

# Before numpy, if nobody was earlier: on a busy machine its threads only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from tests.models.tinylm_modules import load

MODEL = Path(__file__).resolve().parents[2] / "models" / "text_generation"
ADAPTERS = ("pirate", "haiku")
QUESTION = "User: What is the capital of France?\nAssistant:"

generation, lora, network = load("generation"), load("lora"), load("network")
parameters, tokenizer, weights = load("parameters"), load("tokenizer"), load("weights")


@pytest.fixture(scope="module")
def net() -> Any:
    return network.Network.load(MODEL / "1")


def store(folder: Path = MODEL / "adapters", **settings: int) -> Any:
    return lora.AdapterStore(folder, layers=4, hidden_size=192, **settings)


async def answer(net: Any, prompt: str, name: str | None = None, **wanted: Any) -> str:
    pieces = await answer_pieces(net, prompt, name, **wanted)
    return "".join(piece.text for piece in pieces)


async def answer_pieces(net: Any, prompt: str, name: str | None = None, **wanted: Any) -> list[Any]:
    settings = {"temperature": 0, "max_tokens": 120, **wanted}
    return [
        piece
        async for piece in generation.generate(
            net,
            tokenizer.encode(prompt, net.shape.max_position_embeddings),
            parameters.parse(json.dumps(settings)),
            adapter=store().get(name) if name else None,
        )
    ]


def logits_of(net: Any, tokens: list[int], adapter: Any = None) -> Any:
    return net.advance(tokens, network.Cache(net.shape), adapter)


# --- tokens and network


@pytest.mark.parametrize("text", ["", "plain", "żółć, 東京 and 😀", "a\nb\tc"])
def test_text_survives_encoding_and_decoding(text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, 512)) == text


def test_the_oldest_bytes_of_a_long_prompt_are_cut_between_characters() -> None:
    tokens = tokenizer.encode("é" * 300 + "end", 512)

    assert tokens[0] == tokenizer.BOS
    assert len(tokens) <= 512
    assert tokenizer.decode(tokens) == "é" * 254 + "end"


def test_the_weights_are_small_enough_to_be_committed() -> None:
    path = MODEL / "1" / "model.safetensors"
    count = sum(tensor.size for tensor in weights.read_tensors(path).values())

    assert path.stat().st_size <= 10_000_000
    assert 1_000_000 <= count <= 3_000_000


def test_tensors_survive_writing_and_reading(tmp_path: Path) -> None:
    tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(1, np.float32)}

    weights.write_tensors(tmp_path / "t", tensors, half=True)

    read = weights.read_tensors(tmp_path / "t")
    assert set(read) == {"a", "b"}
    assert all(np.array_equal(read[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("name", [None, *ADAPTERS])
def test_the_cache_gives_what_a_full_pass_gives(net: Any, name: str | None) -> None:
    adapter = store().get(name) if name else None
    tokens = tokenizer.encode("User: Why is the sky blue?\nAssistant:The air", 512)
    full = logits_of(net, tokens, adapter)
    cache = network.Cache(net.shape)

    parts = [net.advance(tokens[:7], cache, adapter), net.advance(tokens[7:30], cache, adapter)]
    parts += [net.advance([token], cache, adapter) for token in tokens[30:]]

    assert np.allclose(np.concatenate(parts), full, atol=2e-4)


async def test_generation_goes_on_beyond_the_context(net: Any) -> None:
    prompt = "User: Hello!\nAssistant: Hello!\n" * 20 + QUESTION

    pieces = await answer_pieces(net, prompt, ignore_eos=True, max_tokens=30)

    assert len(pieces) == 30
    assert pieces[-1].finish_reason == "length"


# --- adapters


def merged(name: str) -> Any:
    """The network with W + (alpha / r) B A in the place of W."""
    tensors = weights.read_tensors(MODEL / "1" / "model.safetensors")
    folder = MODEL / "adapters" / name
    config = json.loads((folder / "adapter_config.json").read_text())
    halves = weights.read_tensors(folder / "adapter_model.safetensors")
    for key in [key for key in halves if ".lora_A." in key]:
        place = key.removeprefix("base_model.model.").replace(".lora_A", "")
        delta = halves[key.replace("lora_A", "lora_B")] @ halves[key]
        tensors[place] = tensors[place] + config["lora_alpha"] / config["r"] * delta
    shape = network.Network.load(MODEL / "1").shape
    return network.Network(shape, tensors)


@pytest.mark.parametrize("name", ADAPTERS)
async def test_an_adapter_equals_the_dense_merge(net: Any, name: str) -> None:
    dense, adapter = merged(name), store().get(name)
    tokens = tokenizer.encode(QUESTION, 512)

    assert np.allclose(logits_of(net, tokens, adapter), logits_of(dense, tokens), atol=2e-3)
    assert not np.allclose(logits_of(net, tokens), logits_of(dense, tokens), atol=0.5)
    assert await answer(net, QUESTION, name) == await answer(dense, QUESTION)


async def test_adapters_change_the_answer_each_in_its_way(net: Any) -> None:
    plain = await answer(net, QUESTION)
    pirate = await answer(net, QUESTION, "pirate")
    haiku = await answer(net, QUESTION, "haiku")

    assert plain == "The capital of France is Paris."
    assert any(word in pirate for word in ("Arr", "Ahoy", "Yo ho", "Shiver", "Aye"))
    assert len(haiku.splitlines()) == 3


@pytest.mark.parametrize("name", ["../1", "..", ".", "", "a/b", "/etc", "a\0b", "x" * 999, "nope"])
def test_names_that_are_no_adapter_are_refused_as_vllm_refuses_them(name: str) -> None:
    with pytest.raises(lora.AdapterError, match=r"is not supported, we currently support \['haiku"):
        store().get(name)


def copy_adapter(folder: Path, name: str, **changes: Any) -> Path:
    target = folder / name
    shutil.copytree(MODEL / "adapters" / "pirate", target)
    path = target / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 64}, "rank 64: 1 to 32"),
        ({"r": 4}, r"is \(8, 192\), not \(4, 192\)"),
        ({"peft_type": "IA3"}, "of another kind"),
        ({"use_dora": True}, "of another kind"),
    ],
    ids=["rank", "shape", "kind", "dora"],
)
def test_an_adapter_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    copy_adapter(tmp_path, "odd", **changes)

    with pytest.raises(lora.AdapterError, match=message):
        store(tmp_path).get("odd")


def test_an_adapter_for_other_modules_is_refused(tmp_path: Path) -> None:
    path = copy_adapter(tmp_path, "odd") / "adapter_model.safetensors"
    tensors = weights.read_tensors(path)
    tensors["base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"] = np.ones((8, 192))
    weights.write_tensors(path, tensors)

    with pytest.raises(lora.AdapterError, match=r"no place for .*layers\.9\."):
        store(tmp_path).get("odd")


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]"])
def test_a_broken_file_is_a_clear_error_without_a_path(tmp_path: Path, data: bytes) -> None:
    (copy_adapter(tmp_path, "odd") / "adapter_model.safetensors").write_bytes(data)

    with pytest.raises(lora.AdapterError, match="LoRA odd cannot be read") as caught:
        store(tmp_path).get("odd")
    assert str(tmp_path) not in str(caught.value)


def test_an_adapter_is_read_once_until_its_files_change(tmp_path: Path) -> None:
    folder, adapters = copy_adapter(tmp_path, "one"), store(tmp_path)
    first = adapters.get("one")
    assert adapters.get("one") is first

    os.utime(folder / "adapter_model.safetensors", (1, 1))

    assert adapters.get("one") is not first
    shutil.rmtree(folder)
    with pytest.raises(lora.AdapterError, match="not supported"):
        adapters.get("one")


def test_an_adapter_may_be_a_link_and_the_link_may_change(tmp_path: Path) -> None:
    folders = [copy_adapter(tmp_path / "files", name) for name in ("one", "two")]
    (tmp_path / "adapters").mkdir()
    link, adapters = tmp_path / "adapters" / "ours", store(tmp_path / "adapters")
    link.symlink_to(folders[0])
    first = adapters.get("ours")

    link.unlink()
    link.symlink_to(folders[1])

    assert adapters.names() == ["ours"]
    assert adapters.get("ours") is not first


def test_only_so_many_adapters_stay_in_memory(tmp_path: Path) -> None:
    for name in "abc":
        copy_adapter(tmp_path, name)
    adapters = store(tmp_path, resident=2)
    first = [adapters.get(name) for name in "abc"]

    assert repr(adapters) == "<AdapterStore loaded=2/2>"
    assert adapters.get("c") is first[2]
    assert adapters.get("a") is not first[0]


# --- generation


@pytest.mark.parametrize("wanted", [{}, {"temperature": 0.9, "seed": 5}], ids=["best", "seed"])
async def test_a_text_goes_on_from_any_place_as_it_would_have(
    net: Any, wanted: dict[str, Any]
) -> None:
    prompt = "User: Tell me a story.\nAssistant:"
    whole = await answer(net, prompt, max_tokens=60, **wanted)

    for at in range(1, len(whole), 7):
        rest = await answer(net, prompt + whole[:at], max_tokens=60 - at, **wanted)
        assert whole[:at] + rest == whole


async def test_the_same_seed_gives_the_same_text(net: Any) -> None:
    texts = [await answer(net, "The", temperature=1.5, seed=seed) for seed in (1, 1, 2)]

    assert texts[0] == texts[1] != texts[2]


async def test_what_else_runs_changes_nothing(net: Any) -> None:
    jobs = [(name, seed) for name in (None, *ADAPTERS) for seed in (1, 2)]

    def run(job: tuple[str | None, int]) -> Any:
        name, seed = job
        return answer(
            net, "User: Hello!\nAssistant:", name, temperature=1.0, seed=seed, max_tokens=20
        )

    together = await asyncio.gather(*(run(job) for job in jobs))

    assert together == [await run(job) for job in jobs]


async def test_an_answer_ends_by_itself_or_at_the_bound(net: Any) -> None:
    whole = await answer_pieces(net, QUESTION)
    short = await answer_pieces(net, QUESTION, max_tokens=5)

    assert whole[-1].finish_reason == "stop"
    assert [piece.finish_reason for piece in short] == [None] * 4 + ["length"]
    assert "".join(piece.text for piece in short) == "The c"


async def test_min_tokens_and_ignore_eos_keep_it_talking(net: Any) -> None:
    whole = await answer_pieces(net, QUESTION)
    more = await answer_pieces(net, QUESTION, min_tokens=len(whole) + 5)
    ignoring = await answer_pieces(net, QUESTION, ignore_eos=True, max_tokens=len(whole) + 5)

    assert len(more) >= len(whole) + 5
    assert len(ignoring) == len(whole) + 5


async def test_a_stop_text_ends_the_answer_and_is_not_in_it(net: Any) -> None:
    pieces = await answer_pieces(net, QUESTION, stop=["France is", "Rome"])

    assert "".join(piece.text for piece in pieces) == "The capital of "
    assert pieces[-1].finish_reason == "stop"


async def test_a_cancelled_generation_ends_at_the_next_token(net: Any) -> None:
    seen: list[Any] = []
    pieces = generation.generate(
        net,
        tokenizer.encode(QUESTION, 512),
        parameters.SamplingParameters(max_tokens=100),
        is_cancelled=lambda: len(seen) >= 3,
    )

    with pytest.raises(generation.Cancelled):
        async for piece in pieces:
            seen.append(piece)  # noqa: PERF401  (the generator looks at it)
    assert len(seen) == 3


async def test_tokens_come_at_their_pace(net: Any) -> None:
    clock = asyncio.get_running_loop().time
    start = clock()
    pieces = generation.generate(
        net,
        tokenizer.encode("The", 512),
        parameters.SamplingParameters(max_tokens=11, ignore_eos=True),
        token_seconds=0.01,
    )

    assert len([piece async for piece in pieces]) == 11
    assert clock() - start >= 0.099


# --- chat template


def render(messages: list[dict[str, Any]], **context: Any) -> str:
    template = SandboxedEnvironment().from_string((MODEL / "chat.jinja").read_text())
    return template.render(messages=messages, **context)


def test_the_template_renders_a_conversation() -> None:
    roles = ("system", "user", "assistant", "tool", "user")
    messages = [{"role": role, "content": f"it is {role}"} for role in roles]

    assert render(messages) == (
        "System: it is system\nUser: it is user\nAssistant: it is assistant\n"
        "Tool: it is tool\nUser: it is user\nAssistant:"
    )
    assert render(messages[1:2], add_generation_prompt=False) == "User: it is user\n"


async def test_a_rendered_chat_is_answered(net: Any) -> None:
    prompt = render(
        [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": "Hello! How can I help you today?"},
            {"role": "user", "content": "What is the opposite of hot?"},
        ]
    )

    assert await answer(net, prompt) == "The opposite of hot is cold."
