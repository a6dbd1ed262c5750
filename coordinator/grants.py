"""Where agents may put their output files: a place for the whole of one, or for the parts that are missing.

Nothing of an upload is kept here but what is to be given up when its prediction ends: what it is lies in the
storage, and the agent says which one it goes on with, in words that we have signed.
"""

import asyncio
import logging
from contextlib import suppress

import msgspec

from coordinator.actor.clock import Clock
from coordinator.blobs.base import Blobs, DirectPut, Plan
from coordinator.blobs.errors import BlobsUnavailable, Exists, Missing, TooLarge
from coordinator.blobs.keys import output_key, output_prefix
from coordinator.blobs.signing import Signer
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import LEAST_PART_BYTES, PARTS, ServerLimits

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Parts that one answer names: an agent asks again after them. PROTOCOL.md says the number."""
_PURPOSE = "resume"


class Grants:
    """Answers ``upload``. ``stop`` it at the end; safe twice."""

    def __init__(self, blobs: Blobs, signer: Signer, clock: Clock, limits: ServerLimits) -> None:
        self._blobs = blobs
        self._signer = signer
        self._clock = clock
        self._limits = limits
        self._open: dict[str, set[tuple[str, str]]] = {}
        """For each prediction (key, id) of its uploads in parts, as far as this process knows."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, upload: wire.Upload, attempt_key: str) -> wire.UploadTo | wire.UploadRefused:
        """What the agent is told. Never raises."""
        if upload.length > self._limits.output_file_bytes:
            return _refused(upload, f"{upload.length} bytes are more than the limit output_file_bytes")
        if not upload.parts:
            return await self._whole(upload, attempt_key)
        plan = Plan(
            length=upload.length,
            sha256=upload.sha256,
            content_type=upload.content_type,
            part_bytes=upload.part_bytes,
            parts=upload.parts,
        )
        fault = plan.fault(LEAST_PART_BYTES, PARTS)
        if fault is not None:
            return _refused(upload, f"it cannot go in such parts: {fault}")
        try:
            return await self._parted(upload, attempt_key, plan)
        except TooLarge:
            return await self._whole(upload, attempt_key)
        except BlobsUnavailable as error:
            log.warning("storage took no upload in parts: %s", error)
            return wire.UploadTo(channel=upload.channel, request=upload.request, key="", url="")

    def ended(self, prediction: str) -> None:
        """Give up what is still on its way for it."""
        for key, id in self._open.pop(prediction, ()):
            task = asyncio.get_running_loop().create_task(self._abort(key, id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """What cannot be given up now is found by the storage's sweep."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _abort(self, key: str, id: str) -> None:
        try:
            await self._blobs.uploads.abort(key, id)
        except BlobsUnavailable as error:
            log.warning("an upload in parts could not be given up: %s", error)

    # --- in parts -----------------------------------------------------------------------------------------

    async def _parted(self, upload: wire.Upload, attempt_key: str, plan: Plan) -> wire.UploadTo:
        going = self._resumed(upload, attempt_key, plan)
        if going is not None:
            key, id = going
            try:
                present = await self._blobs.uploads.present(key, id, plan)
            except Missing:
                present = None
            if present is None or len(present) == len(plan.parts):
                if await self._completed(key, id, plan):
                    self._forget(upload.prediction, key, id)
                    return wire.UploadTo(
                        channel=upload.channel, request=upload.request, key=key, url="", stored=True
                    )
                self._forget(upload.prediction, key, id)
            else:
                return await self._places(upload, key, id, plan, present)
        key = output_key(upload.prediction, attempt_key, upload.request, upload.name)
        id = await self._blobs.uploads.begin(key, plan)
        return await self._places(upload, key, id, plan, set())

    def _resumed(self, upload: wire.Upload, attempt_key: str, plan: Plan) -> tuple[str, str] | None:
        """(key, id) of the upload that the agent goes on with; None when it is none of this attempt and
        content."""
        mac, _, rest = upload.resume.partition(" ")
        key, _, id = rest.partition(" ")
        if not key.startswith(output_prefix(upload.prediction, attempt_key)):
            return None
        return (key, id) if self._signer.has_mac(_PURPOSE, _said(key, id, plan), mac) else None

    async def _completed(self, key: str, id: str, plan: Plan) -> bool:
        """Whether the blob is there now, and the announced one."""
        with suppress(Missing, Exists):  # it may have been completed before
            await self._blobs.uploads.complete(key, id, plan)
        stat = await self._blobs.stat(key)
        return stat is not None and (stat.length, stat.sha256) == (plan.length, plan.sha256)

    async def _places(
        self, upload: wire.Upload, key: str, id: str, plan: Plan, present: set[int]
    ) -> wire.UploadTo:
        missing = [number for number in range(1, len(plan.parts) + 1) if number not in present]
        parts = [await self._place(upload, key, id, plan, number) for number in missing[:AT_ONCE]]
        self._open.setdefault(upload.prediction, set()).add((key, id))
        return wire.UploadTo(
            channel=upload.channel,
            request=upload.request,
            key=key,
            url="",
            parts=tuple(parts),
            resume=f"{self._signer.mac(_PURPOSE, _said(key, id, plan))} {key} {id}",
        )

    async def _place(self, upload: wire.Upload, key: str, id: str, plan: Plan, number: int) -> wire.PartTo:
        part = plan.part(number)
        if upload.direct:
            direct = await self._blobs.uploads.put_url(key, id, part, self._limits.upload_ttl_s)
            if direct is not None:
                return wire.PartTo(number=number, url=direct.url, headers=direct.headers)
        url = self._signer.part_path(key, id, part, expires_at=self._expires_at())
        return wire.PartTo(number=number, url=url)

    def _forget(self, prediction: str, key: str, id: str) -> None:
        uploads = self._open.get(prediction, set())
        uploads.discard((key, id))
        if not uploads:
            self._open.pop(prediction, None)

    # --- in one piece -------------------------------------------------------------------------------------

    async def _whole(self, upload: wire.Upload, attempt_key: str) -> wire.UploadTo:
        key = output_key(upload.prediction, attempt_key, upload.request, upload.name)
        direct = await self._direct(key, upload) if upload.direct else None
        if direct is None:
            url = self._signer.put_path(
                key,
                length=upload.length,
                sha256=upload.sha256,
                content_type=upload.content_type,
                expires_at=self._expires_at(),
            )
            direct = DirectPut(url=url, headers={"content-type": upload.content_type})
        return wire.UploadTo(
            channel=upload.channel, request=upload.request, key=key, url=direct.url, headers=direct.headers
        )

    async def _direct(self, key: str, upload: wire.Upload) -> DirectPut | None:
        """A URL of the store itself; None when there is none, and the bytes come to us."""
        try:
            return await self._blobs.put_url(
                key,
                length=upload.length,
                sha256=upload.sha256,
                content_type=upload.content_type,
                ttl_s=self._limits.upload_ttl_s,
            )
        except BlobsUnavailable as error:
            log.warning("storage gave no URL to upload to: %s", error)
            return None

    def _expires_at(self) -> int:
        return self._clock.now() + int(self._limits.upload_ttl_s * 1e6)


def _said(key: str, id: str, plan: Plan) -> str:
    """All that an upload is of: whoever holds our word for it goes on with just that."""
    return msgspec.json.encode([key, id, plan]).decode()


def _refused(upload: wire.Upload, detail: str) -> wire.UploadRefused:
    return wire.UploadRefused(channel=upload.channel, request=upload.request, detail=detail)
