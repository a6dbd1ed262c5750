"""Signed URLs give what was signed, until then, and nothing else."""

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from coordinator.blobs.errors import BadKey, BadSignature, Expired
from coordinator.blobs.keys import upload_key
from coordinator.blobs.signing import Grant, Signer, UploadGrant

SECOND = 1_000_000
KEY = upload_key("file_1", "ein Bild & mehr.png")
NAME = "ein Bild & mehr=.png"
SIGNER = Signer(b"k" * 32)


def taken_apart(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    return parts.path, dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))


def signed_get(expires_at: int = 100 * SECOND) -> tuple[str, dict[str, str]]:
    path, query = taken_apart(
        SIGNER.get_path(KEY, name=NAME, content_type="image/png", expires_at=expires_at)
    )
    return path.removeprefix("/files/"), query


def signed_put() -> tuple[str, dict[str, str]]:
    url = SIGNER.put_path(KEY, length=7, sha256="ab" * 32, content_type="image/png", expires_at=100 * SECOND)
    path, query = taken_apart(url)
    return path.removeprefix("/uploads/"), query


def test_a_get_url_is_good_until_it_expires() -> None:
    path, query = signed_get()
    grant = Grant(key=KEY, name=NAME, content_type="image/png", expires_at=100 * SECOND)
    assert SIGNER.verify_get(path, query, now=0) == grant
    assert SIGNER.verify_get(unquote(path), query, now=100 * SECOND - 1) == grant
    with pytest.raises(Expired) as caught:
        SIGNER.verify_get(path, query, now=100 * SECOND)
    assert caught.value.expires_at == 100 * SECOND


def test_a_put_url_says_what_may_be_put() -> None:
    path, query = signed_put()
    assert SIGNER.verify_put(path, query, now=0) == UploadGrant(
        key=KEY, length=7, sha256="ab" * 32, content_type="image/png", expires_at=100 * SECOND
    )
    with pytest.raises(Expired):
        SIGNER.verify_put(path, query, now=100 * SECOND)


def test_part_of_a_second_is_rounded_up() -> None:
    path, query = signed_get(expires_at=99 * SECOND + 1)
    assert SIGNER.verify_get(path, query, now=99 * SECOND + 1).expires_at == 100 * SECOND


@pytest.mark.parametrize("field", ["name", "type", "expires", "signature"])
def test_any_change_or_gap_is_refused(field: str) -> None:
    path, query = signed_get()
    for other in (query[field] + "0", "", "ü", "\udc80"):
        with pytest.raises(BadSignature):
            SIGNER.verify_get(path, query | {field: other}, now=0)
    del query[field]
    with pytest.raises(BadSignature):
        SIGNER.verify_get(path, query, now=0)


def test_a_signature_is_for_one_key_and_one_purpose() -> None:
    path, query = signed_get()
    for other in (upload_key("file_2", NAME), "..", "", "uploads/file_1"):
        with pytest.raises(BadSignature):
            SIGNER.verify_get(other, query, now=0)
    put_path, put_query = signed_put()
    with pytest.raises(BadSignature):
        SIGNER.verify_get(put_path, put_query | {"name": NAME}, now=0)
    with pytest.raises(BadSignature):
        SIGNER.verify_put(path, query | {"length": "7", "sha256": "ab" * 32}, now=0)
    with pytest.raises(BadSignature):
        Signer(b"other" * 8).verify_get(path, query, now=0)


def test_fields_do_not_run_into_each_other() -> None:
    first = SIGNER.get_path(KEY, name="a", content_type="bc", expires_at=SECOND)
    second = SIGNER.get_path(KEY, name="ab", content_type="c", expires_at=SECOND)
    assert taken_apart(first)[1]["signature"] != taken_apart(second)[1]["signature"]


def test_more_in_the_query_changes_nothing() -> None:
    path, query = signed_get()
    assert SIGNER.verify_get(path, query | {"download": "1"}, now=0).key == KEY


def test_bad_keys_are_not_signed() -> None:
    with pytest.raises(BadKey):
        SIGNER.get_path("../x", name="x", content_type="a/b", expires_at=0)
    with pytest.raises(ValueError, match="32 bytes"):
        Signer(b"short")


def test_a_text_is_signed_for_its_purpose() -> None:
    mac = SIGNER.mac("stream", "p1.acme")
    assert SIGNER.has_mac("stream", "p1.acme", mac)
    assert not SIGNER.has_mac("other", "p1.acme", mac)
    assert not SIGNER.has_mac("stream", "p2.acme", mac)
    assert not SIGNER.has_mac("stream", "p1.acme", mac + "\udc80")
