"""A form with a file, read as it comes: nothing of the file stays in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Final, TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from libs.common.errors import Aborted, BadInput, DeadlineExceeded
from services.entry.bad_input import bad_input

T = TypeVar("T")
CHUNK_BYTES: Final = 256 * 1024
LONGEST_NAME: Final = 256
BROKEN: Final = (ValueError, RuntimeError, AssertionError, HttpProcessingError)  # aiohttp's words


class UploadForm:
    """The fields `file_name` and `file` of a form, in any order.

    Where the file comes first, its own file name must be what `file_name` says after it.
    """

    def __init__(self, request: web.Request, *, idle_s: float) -> None:
        """`idle_s` is how long nothing may come."""
        self.file_name = ""
        self._request = request
        self._idle_s = idle_s
        self._reader: MultipartReader | None = None
        self._file: BodyPartReader | None = None

    def __repr__(self) -> str:
        return f"<UploadForm {self.file_name!r}>"

    async def open(self) -> None:
        """Read up to the file. BadInput."""
        if self._request.content_type != "multipart/form-data":
            raise bad_input([], "expected multipart/form-data with file_name and file")
        self._reader = await self._read(self._request.multipart())
        named = ""
        while (part := await self._part()) is not None:
            if part.name == "file_name":
                named = await self._name(part)
            elif part.name == "file":
                self._file = part
                self.file_name = named or part.filename or ""
                break
        if self._file is None:
            raise bad_input(["file"], "expected a file")
        if not self.file_name:
            raise bad_input(["file_name"], "expected it before the file, which has no name either")

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the file, and hold what comes after it against `file_name`. BadInput."""
        file = self._file
        assert file is not None
        while not file.at_eof():
            if chunk := await self._read(file.read_chunk(CHUNK_BYTES)):
                yield chunk
        while (part := await self._part()) is not None:
            if part.name == "file":
                raise bad_input(["file"], "expected one file, got two")
            if part.name == "file_name" and await self._name(part) != self.file_name:
                text = f"expected it before the file, which is named {self.file_name[:200]!r}"
                raise bad_input(["file_name"], text)

    async def _part(self) -> BodyPartReader | None:
        assert self._reader is not None
        part = await self._read(self._reader.next())
        if isinstance(part, MultipartReader):
            raise bad_input([], "expected no multipart within the form")
        if part is not None and part.headers.get("Content-Transfer-Encoding", "binary") not in (
            "binary",
            "8bit",
        ):
            raise bad_input([], "expected the form's fields as they are, in no encoding")
        return part

    async def _name(self, part: BodyPartReader) -> str:
        raw = bytearray()
        while not part.at_eof() and len(raw) <= LONGEST_NAME:
            raw += await self._read(part.read_chunk(LONGEST_NAME))
        try:
            return raw[:LONGEST_NAME].decode("utf-8").strip()
        except UnicodeDecodeError:
            raise bad_input(["file_name"], "expected UTF-8 text") from None

    async def _read(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._idle_s):
                return await work
        except TimeoutError:
            text = f"nothing of the body has come for {self._idle_s:g} s"
            raise DeadlineExceeded(text) from None
        except (web.RequestPayloadError, ConnectionError):
            raise Aborted("the client left in the middle of its upload") from None
        except BROKEN as error:
            raise BadInput(f"body: no valid form: {str(error)[:200]}") from error
