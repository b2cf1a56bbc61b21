"""What a model in Triton declares, held against what its task and dialect send and read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from libs.common.catalog import DIALECTS, Model
from libs.common.pb import kserve_pb2 as kserve
from services.server.backends.contracts import ANY, Contract, Kind, Kinds, contract_of


def flaw(model: Model, declared: kserve.ModelMetadataResponse) -> str:
    """Return why calls of the model would fail, and what would be right; empty where it fits."""
    backend = model.backend
    found = list(_flaws(model, backend.dialect, declared))
    if not found:
        return ""
    others = [each for each in DIALECTS["triton"] if each != backend.dialect]
    fitting = [each for each in others if not any(True for _ in _flaws(model, each, declared))]
    if fitting and model.task == "text-generation":
        found.append(f"backend.dialect: {' or '.join(fitting)} would fit")
    return "; ".join(found)


def _flaws(model: Model, dialect: str, declared: kserve.ModelMetadataResponse) -> Iterator[str]:
    inputs = _kinds(declared.inputs)
    contract = contract_of(model, dialect, inputs)
    if contract is not None:
        yield from _of_inputs(model, dialect, contract, inputs)
        yield from _of_outputs(model, contract, _kinds(declared.outputs))


def _of_inputs(model: Model, dialect: str, contract: Contract, there: Kinds) -> Iterator[str]:
    needed = {**contract.always, **(contract.adapter if model.lora.enabled else {})}
    for name, sent in {**contract.sometimes, **needed}.items():
        theirs = model.backend.tensors.get(name, name)
        has = there.get(theirs)
        if has is None:
            if name in needed:
                yield _missing("input", theirs, there)
        elif not has.takes(sent):
            yield _other(theirs, has, sent, dialect)


def _of_outputs(model: Model, contract: Contract, there: Kinds) -> Iterator[str]:
    backend = model.backend
    for name, datatype in contract.outputs.items():
        theirs = backend.tensors.get(name, name)
        if theirs not in there:
            yield _missing("output", theirs, there)
        elif there[theirs].datatype != datatype:
            yield f"output {theirs} is {there[theirs]}, and {datatype} is read"
    counts = {"tokens_in": backend.usage.tokens_in, "tokens_out": backend.usage.tokens_out}
    for field, counted in counts.items():
        if counted and counted not in there:
            yield f"backend.usage.{field}: {_missing('output', counted, there)}"


def _kinds(tensors: Iterable[kserve.ModelMetadataResponse.TensorMetadata]) -> Kinds:
    return {each.name: Kind(each.datatype, tuple(each.shape)) for each in tensors}


def _missing(what: str, name: str, there: Kinds) -> str:
    known = ", ".join(f"{each} {kind}" for each, kind in there.items()) or "none"
    return f"it has no {what} {name} (it has {known}), which backend.tensors could rename"


def _other(name: str, has: Kind, sent: Kind, dialect: str) -> str:
    text = f"input {name} is {has}, and dialect {dialect} sends {sent}"
    if has.datatype == sent.datatype and has.shape == (ANY, *sent.shape):
        return f"{text}: max_batch_size: 0 in its config.pbtxt would fit"
    return text
