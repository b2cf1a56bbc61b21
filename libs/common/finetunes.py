"""Finetunes as they are made and given their files: what entry asks of control."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from libs.common.catalog import Finetune


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFinetune:
    """A finetune that is to be made."""

    account: str
    name: str
    model: str
    description: str = ""
    public: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadHead:
    """What is uploaded, and into which finetune: its id or name."""

    account: str
    finetune: str
    file: str


class Written(NamedTuple):
    """A finetune as it is now, or was, and the version of the world that has it so."""

    finetune: Finetune
    version: int


class FinetuneWrites(Protocol):
    """Changes the finetunes of accounts. Raises RequestError."""

    async def create(self, new: NewFinetune) -> Written:
        """Make a finetune without files."""
        ...

    async def upload(self, head: UploadHead, chunks: AsyncIterator[bytes]) -> Written:
        """Take one of a finetune's files; what `chunks` raises leaves nothing behind."""
        ...

    async def delete(self, account: str, name: str) -> Written:
        """Remove a finetune, by its id or name, with its files."""
        ...


class AssetSource(Protocol):
    """Where uploaded files are had from. Raises RequestError."""

    def fetch(self, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield a file in pieces; the reader holds them against the digest."""
        ...
