"""Keys of blobs are safe whatever a file is called."""

from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coordinator.blobs.errors import BadKey
from coordinator.blobs.keys import (
    MAX_SEGMENT_BYTES,
    check_key,
    from_url_path,
    output_key,
    safe_name,
    upload_key,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("picture.png", "picture.png"),
        ("two words.txt", "two%20words.txt"),
        ("über.txt", "%C3%BCber.txt"),
        ("u\u0308ber.txt", "%C3%BCber.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\cat.jpg", "cat.jpg"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        ("a/", "file"),
        (".bashrc", "bashrc"),
        ("100%.txt", "100_.txt"),
        ("a\nb\x00.txt", "a_b_.txt"),
        ("\ud800.bin", "_.bin"),
        ("name,meta", "name%2Cmeta"),
        ("a.tar.gz", "a.tar.gz"),
    ],
)
def test_names_become_segments(name: str, expected: str) -> None:
    assert safe_name(name) == expected


def test_long_names_keep_their_extension() -> None:
    assert safe_name("x" * 500 + ".safetensors") == "x" * (MAX_SEGMENT_BYTES - 12) + ".safetensors"
    umlauts = safe_name("ü" * 300 + ".png")
    assert umlauts.endswith("%C3%BC.png")
    assert len(umlauts) <= MAX_SEGMENT_BYTES
    assert len(safe_name("a." + "b" * 500)) == MAX_SEGMENT_BYTES


@settings(deadline=None, database=None)
@given(st.text(st.characters(), max_size=400))
@example("%2e%2e")
@example(". .")
def test_any_name_makes_a_good_key(name: str) -> None:
    key = upload_key("file_1", name)
    assert check_key(key) == key
    assert len(key.rsplit("/", 1)[1]) <= MAX_SEGMENT_BYTES
    # The same key comes out of a URL, whether the server decodes its path or not.
    assert from_url_path(key) == key
    assert from_url_path(unquote(key)) == key
    assert unquote(quote(key)) == key


def test_outputs_of_one_attempt_never_collide() -> None:
    keys = {output_key("p", "secret", index, "out.png") for index in range(3)}
    assert len(keys) == 3
    assert all(key.startswith("outputs/p/secret/") for key in keys)


@pytest.mark.parametrize("path", ["", "..", "a/../b", "a//b", ".tmp/x", "a/%2e%2e/b", "\udc80", "x" * 2000])
def test_paths_that_are_no_keys(path: str) -> None:
    with pytest.raises(BadKey):
        from_url_path(path)
