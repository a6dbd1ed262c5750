"""Uploading, reading and deleting files, and what an input's file URLs become."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from coordinator.blobs.base import Plan
from coordinator.protocol.limits import ServerLimits
from tests.support.edge import BASE, MODEL, TestServer, running

CONTENT = b"some bytes\r\n--not-a-boundary\r\n" * 10_000


async def upload(server: TestServer, **form: Any) -> httpx.Response:
    return await server.http.post("/v1/files", **form)


async def uploaded(server: TestServer, content: bytes = b"x", name: str = "a.txt") -> dict[str, Any]:
    answer = await upload(server, files={"content": (name, content, "text/plain")})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def no_blobs(server: TestServer) -> bool:
    root: Path = server.services.blobs._root  # type: ignore[attr-defined]
    return not [path for path in root.rglob("*") if path.is_file()]


async def test_a_file_has_replicates_shape(server: TestServer) -> None:
    # As the Python client sends it: metadata is a text field before the content.
    answer = await upload(
        server,
        data={"metadata": json.dumps({"k": "v"})},
        files={"content": ("dir/ä b.png", CONTENT, "image/png")},
    )
    assert answer.status_code == 201
    file = answer.json()
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert file["urls"]["get"] == f"{BASE}/v1/files/{file['id']}"
    assert {key: file[key] for key in ("name", "content_type", "size", "etag", "checksums", "metadata")} == {
        "name": "ä b.png",
        "content_type": "image/png",
        "size": len(CONTENT),
        "etag": md5,
        "checksums": {"sha256": hashlib.sha256(CONTENT).hexdigest(), "md5": md5},
        "metadata": {"k": "v"},
    }
    assert (await server.http.get(f"/v1/files/{file['id']}")).json() == file
    read = await server.http.get(file["urls"]["download"], headers={"authorization": ""})
    assert (read.content, read.headers["content-type"]) == (CONTENT, "image/png")


@pytest.mark.parametrize(
    ("form", "metadata"),
    [
        (
            {"files": {"metadata": ("blob", b'{"k": 1}', "application/json"), "content": ("a", b"x")}},
            {"k": 1},
        ),
        (
            {"data": {"metadata[k]": "v", "metadata[l]": "w"}, "files": {"content": ("upload", b"x")}},
            {"k": "v", "l": "w"},
        ),
        ({"files": {"content": ("a", b"x")}}, {}),
    ],
)
async def test_metadata_comes_in_three_shapes(
    server: TestServer, form: dict[str, Any], metadata: dict[str, Any]
) -> None:
    answer = await upload(server, **form)
    assert (answer.status_code, answer.json()["metadata"]) == (201, metadata)


async def test_fields_go_before_what_the_part_says(server: TestServer) -> None:
    answer = await upload(
        server,
        data={"filename": "real.jpg", "type": "image/jpeg"},
        files={"content": ("upload", b"x", "application/octet-stream")},
    )
    assert (answer.json()["name"], answer.json()["content_type"]) == ("real.jpg", "image/jpeg")
    hostile = await upload(server, files={"content": ("a", b"x", "text/html\tx; y")})
    assert hostile.json()["content_type"] == "application/octet-stream"


async def test_bad_uploads_are_refused_and_leave_nothing(server: TestServer) -> None:
    cases: list[tuple[dict[str, Any], int]] = [
        ({"data": {"metadata": "{}"}, "files": {"other": ("a", b"x")}}, 422),
        ({"data": {"metadata": "[1]"}, "files": {"content": ("a", b"x")}}, 422),
        ({"files": {"content": ("n" * 300, b"x")}}, 422),
        ({"files": [("content", ("a", b"x")), ("content", ("b", b"y"))]}, 422),
        ({"content": b"just bytes"}, 415),
        (
            {
                "content": b"--x\r\nContent-Disposition: form-data; name=content\r\n\r\ncut",
                "headers": {"content-type": "multipart/form-data; boundary=x"},
            },
            400,
        ),
    ]
    for form, status in cases:
        answer = await upload(server, **form)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert no_blobs(server)
    assert (await server.http.get("/v1/files")).json()["results"] == []


async def test_a_file_over_the_limit_is_413_announced_or_not(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(file_bytes=400_000)) as server:
        announced = await upload(server, files={"content": ("a", b"x" * 700_000)})
        hidden = await upload(server, files={"content": ("a", b"x" * 400_001)})
        assert [announced.status_code, hidden.status_code] == [413, 413]
        assert no_blobs(server)
        assert (await upload(server, files={"content": ("a", b"x" * 400_000)})).status_code == 201


async def test_files_are_listed_and_deleted(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(page_size=2)) as server:
        ids = [(await uploaded(server, name=f"{n}"))["id"] for n in range(3)]
        first = (await server.http.get("/v1/files")).json()
        second = (await server.http.get(first["next"])).json()
        assert [one["id"] for one in first["results"] + second["results"]] == ids[::-1]
        assert second["next"] is None
        for status in (204, 404):
            answer = await server.http.delete(f"/v1/files/{ids[0]}")
            assert answer.status_code == status
        assert (await server.http.get(f"/v1/files/{ids[0]}")).status_code == 404


async def test_an_expired_file_is_gone(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(file_ttl_s=0.0)) as server:
        file = await uploaded(server)
        assert (await server.http.get(f"/v1/files/{file['id']}")).status_code == 404
        answer = await server.http.get(file["urls"]["download"])
        assert (answer.status_code, answer.json()["code"]) == (410, "gone")
        answer = await server.http.post(
            f"/v1/models/{MODEL}/predictions", json={"input": {"text": "x", "image": file["urls"]["get"]}}
        )
        assert answer.json()["invalid_fields"][0]["field"] == "input.image"


async def test_another_accounts_file_is_404(server: TestServer) -> None:
    file = await uploaded(server)
    stranger = {"authorization": f"Bearer {await server.secret('stranger', account='other')}"}
    url = f"/v1/files/{file['id']}"
    assert (await server.http.get(url, headers=stranger)).status_code == 404
    assert (await server.http.delete(url, headers=stranger)).status_code == 404
    assert (await server.http.get("/v1/files", headers=stranger)).json()["results"] == []
    assert (await server.http.get(f"{url}/download?owner=other&expiry=1&signature=x")).status_code == 403


@pytest.mark.parametrize("escape", [False, True])
async def test_our_file_urls_in_an_input_go_to_the_agent_as_links(server: TestServer, escape: bool) -> None:
    file = await uploaded(server, b"picture", "ä p.png")
    output = server.services.signer.get_path(
        f"uploads/{file['id']}/%C3%A4%20p.png", name="p", content_type="image/png", expires_at=1 << 60
    )
    for url in (file["urls"]["get"], BASE + output):
        body = json.dumps({"input": {"text": "x", "image": url}})
        answer = await server.http.post(
            f"/v1/models/{MODEL}/predictions", content=body.replace("/", "\\/") if escape else body
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()["input"]["image"] == url
        dispatch = await server.agent.start()
        got = await server.http.get(dispatch.files[url], headers={"authorization": ""})
        assert got.content == b"picture"
        assert got.headers["content-disposition"].endswith("filename*=UTF-8''%C3%A4%20p.png")
        server.agent.finish(dispatch, [])
        server.agent.offer()


async def test_a_text_that_looks_like_a_file_url_is_a_text(server: TestServer) -> None:
    await server.create(f"{BASE}/v1/files/nothing")
    assert (await server.agent.start()).files == {}


async def test_a_file_input_must_be_a_file_that_is_there(server: TestServer) -> None:
    for url in (f"{BASE}/v1/files/nothing", f"{BASE}/files/uploads/a/b?signature=x", "/etc/passwd", "x"):
        answer = await server.http.post(
            f"/v1/models/{MODEL}/predictions", json={"input": {"text": "x", "image": url}}
        )
        assert [one["field"] for one in answer.json()["invalid_fields"]] == ["input.image"]


class TestStored:
    async def link(self, server: TestServer, content: bytes, name: str, kind: str) -> str:
        file = await uploaded(server, content, name)
        return server.services.signer.get_path(
            f"uploads/{file['id']}/{name}", name=name, content_type=kind, expires_at=1 << 60
        )

    async def test_ranges(self, server: TestServer) -> None:
        url = await self.link(server, b"0123456789", "a.txt", "text/plain")
        for wanted, status, content in [
            ("bytes=2-4", 206, b"234"),
            ("bytes=8-", 206, b"89"),
            ("bytes=-3", 206, b"789"),
            ("bytes=0-99", 206, b"0123456789"),
            ("bytes=4-2", 200, b"0123456789"),
            ("bytes=0-1,4-5", 200, b"0123456789"),
            ("lines=1", 200, b"0123456789"),
        ]:
            answer = await server.http.get(url, headers={"range": wanted})
            assert (answer.status_code, answer.content) == (status, content), wanted
            assert answer.headers["content-length"] == str(len(content))
        part = await server.http.get(url, headers={"range": "bytes=2-4"})
        assert part.headers["content-range"] == "bytes 2-4/10"
        outside = await server.http.get(url, headers={"range": "bytes=10-"})
        assert (outside.status_code, outside.headers["content-range"]) == (416, "bytes */10")
        head = await server.http.head(url)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
        same = await server.http.get(url, headers={"if-none-match": head.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        changed = await server.http.get(url, headers={"range": "bytes=2-4", "if-range": '"other"'})
        assert changed.status_code == 200

    @pytest.mark.parametrize(
        ("kind", "disposition"),
        [
            ("image/png", "inline"),
            ("audio/mpeg", "inline"),
            ("video/mp4", "inline"),
            ("text/plain; charset=utf-8", "inline"),
            ("image/svg+xml", "attachment"),
            ("IMAGE/SVG", "attachment"),
            ("text/html", "attachment"),
            ("application/pdf", "attachment"),
        ],
    )
    async def test_only_harmless_kinds_are_shown(
        self, server: TestServer, kind: str, disposition: str
    ) -> None:
        answer = await server.http.get(await self.link(server, b"x", "a", kind))
        assert answer.headers["content-disposition"] == f'{disposition}; filename="a"'
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"

    async def test_names_cannot_break_out_of_the_header(self, server: TestServer) -> None:
        file = await uploaded(server, b"x", "a")
        url = server.services.signer.get_path(
            f"uploads/{file['id']}/a", name='ä"\r\nx: y', content_type="text/plain", expires_at=1 << 60
        )
        header = (await server.http.get(url)).headers["content-disposition"]
        assert header == "inline; filename=\"____x: y\"; filename*=UTF-8''%C3%A4%22%0D%0Ax%3A%20y"

    async def test_signatures_and_times_are_checked(self, server: TestServer) -> None:
        url = await self.link(server, b"x", "a", "text/plain")
        for wrong in (url.replace("text", "html"), url[:-1], url.replace("/a?", "/b?"), urlsplit(url).path):
            answer = await server.http.get(wrong)
            assert answer.status_code in (401, 403, 404), wrong

        def signed(key: str, expires_at: int) -> str:
            return server.services.signer.get_path(
                key, name="a", content_type="text/plain", expires_at=expires_at
            )

        key = urlsplit(url).path.removeprefix("/files/")
        for expires_at, there, removed in (
            (1_000_000, (403, "link_expired"), (410, "gone")),
            (1 << 60, (200, None), (410, "gone")),
        ):
            for path, wanted in ((key, there), ("uploads/x/a", removed)):
                answer = await server.http.get(signed(path, expires_at))
                code = answer.json()["code"] if answer.status_code != 200 else None
                assert (answer.status_code, code) == wanted


class TestPut:
    def url(self, server: TestServer, content: bytes, **changes: Any) -> str:
        claims = {
            "length": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "content_type": "image/png",
            "expires_at": 1 << 60,
        }
        return server.services.signer.put_path("outputs/p/k/0/a.png", **{**claims, **changes})

    async def test_takes_exactly_what_was_signed(self, server: TestServer) -> None:
        url = self.url(server, b"picture")
        for wrong in (b"pictures", b"pictur", b"Picture"):
            answer = await server.http.put(url, content=wrong)
            assert (answer.status_code, answer.json()["code"]) == (422, "checksum_mismatch")

        async def unannounced() -> Any:
            yield b"pict"
            yield b"ures"

        assert (await server.http.put(url, content=unannounced())).status_code == 422
        assert no_blobs(server)
        for _ in range(2):
            assert (await server.http.put(url, content=b"picture")).status_code == 201
        other = await server.http.put(self.url(server, b"another"), content=b"another")
        assert (other.status_code, other.json()["code"]) == (409, "conflict")

    async def test_a_cut_upload_leaves_nothing(self, server: TestServer) -> None:
        url = self.url(server, b"picture")
        parts = iter(
            [{"type": "http.request", "body": b"pic", "more_body": True}, {"type": "http.disconnect"}]
        )
        sent: list[Any] = []

        async def receive() -> Any:
            return next(parts)

        async def send(message: Any) -> None:
            sent.append(message)

        split = urlsplit(url)
        scope = {"type": "http", "method": "PUT", "path": split.path, "headers": []}
        async with asyncio.timeout(5):
            await server.app({**scope, "query_string": split.query.encode()}, receive, send)
        assert sent[0]["status"] == 400
        assert no_blobs(server)

    async def test_the_limit_holds(self, tmp_path: Path) -> None:
        async with running(tmp_path, ServerLimits(output_file_bytes=3)) as server:
            assert (await server.http.put(self.url(server, b"four"), content=b"four")).status_code == 413

    async def test_a_get_link_does_not_write(self, server: TestServer) -> None:
        url = self.url(server, b"x").replace("/uploads/", "/files/")
        assert (await server.http.get(url)).status_code == 403
        assert (await server.http.put(url, content=b"x")).status_code == 405


class TestPutOfAPart:
    KEY = "outputs/p/k/0/a.png"
    DATA = b"a picture"
    PLAN = Plan(
        length=9,
        sha256=hashlib.sha256(DATA).hexdigest(),
        content_type="image/png",
        part_bytes=5,
        parts=(hashlib.sha256(b"a pic").hexdigest(), hashlib.sha256(b"ture").hexdigest()),
    )

    def url(self, server: TestServer, upload: str, number: int, expires_at: int = 1 << 60) -> str:
        part = self.PLAN.part(number)
        return server.services.signer.part_path(self.KEY, upload, part, expires_at=expires_at)

    async def test_parts_make_a_file(self, server: TestServer) -> None:
        uploads = server.services.blobs.uploads
        id = await uploads.begin(self.KEY, self.PLAN)
        for number, content in ((2, b"ture"), (1, b"a pic"), (1, b"a pic")):
            answer = await server.http.put(self.url(server, id, number), content=content)
            assert answer.status_code == 201
            assert answer.headers["etag"] == f'"{self.PLAN.parts[number - 1]}"'
        await uploads.complete(self.KEY, id, self.PLAN)
        link = server.services.signer.get_path(
            self.KEY, name="a.png", content_type="image/png", expires_at=1 << 60
        )
        assert (await server.http.get(link)).content == self.DATA

    async def test_exactly_what_was_signed(self, server: TestServer) -> None:
        uploads = server.services.blobs.uploads
        id = await uploads.begin(self.KEY, self.PLAN)
        for wrong in (b"pict", b"tur", b"tures"):
            answer = await server.http.put(self.url(server, id, 2), content=wrong)
            assert (answer.status_code, answer.json()["code"]) == (422, "checksum_mismatch")
        url = self.url(server, id, 2)
        for old, new in (
            ("part=2", "part=1"),
            ("start=5", "start=0"),
            (f"upload={id}", "upload=x"),
            ("part=2", ""),
        ):
            answer = await server.http.put(url.replace(old, new), content=b"ture")
            assert (answer.status_code, answer.json()["code"]) == (403, "bad_signature")
        late = await server.http.put(self.url(server, id, 2, expires_at=1), content=b"ture")
        assert late.json()["code"] == "link_expired"
        assert await uploads.present(self.KEY, id, self.PLAN) == set()

    async def test_of_an_upload_that_has_ended(self, server: TestServer) -> None:
        uploads = server.services.blobs.uploads
        id = await uploads.begin(self.KEY, self.PLAN)
        await uploads.abort(self.KEY, id)
        answer = await server.http.put(self.url(server, id, 2), content=b"ture")
        assert answer.status_code == 404


def part(name: str, *more: str) -> bytes:
    head = (f'Content-Disposition: form-data; name="{name}"', *more)
    return "\r\n".join(("--x", *head, "", "v", "")).encode()


async def test_forms_have_limits(tmp_path: Path) -> None:
    limits = ServerLimits(file_bytes=10_000, form_bytes=1024, form_parts=3)
    content = part("content")
    cases = [
        (part("a") + part("b") + content, 201, ""),
        (part("a") + part("b") + part("c") + content, 413, "3 parts (form_parts)"),
        (part("a", *(f"X{n}: 1" for n in range(8))) + content, 413, "8 headers"),
        (part("a", "X: " + "x" * 5000) + content, 413, "4096 bytes"),
        (b"\r\n" * 6000 + content, 413, "larger than 11024 bytes"),
    ]
    async with running(tmp_path, limits) as server:
        for body, status, detail in cases:

            async def pieces(body: bytes = body) -> AsyncIterator[bytes]:
                yield body
                yield b"--x--\r\n"

            answer = await server.http.post(
                "/v1/files", content=pieces(), headers={"content-type": "multipart/form-data; boundary=x"}
            )
            assert answer.status_code == status, answer.text
            assert status == 201 or detail in answer.json()["detail"]
        large = await upload(server, data={"a": "x" * 1025}, files={"content": ("n", b"x")})
        assert (large.status_code, "(form_bytes)" in large.json()["detail"]) == (413, True)
