"""A storage URL says where files are kept, or what is wrong with it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from coordinator.blobs.place import BadPlace, FilePlace, S3Place, place_of
from coordinator.blobs.s3_errors import clock_off_s


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("", FilePlace()),
        ("file:///srv/my%20files", FilePlace(Path("/srv/my files"))),
        ("s3://pictures", S3Place("pictures")),
        ("s3://pictures/", S3Place("pictures")),
        ("s3://my.pictures/of/cats/", S3Place("my.pictures", "of/cats/")),
        (
            "s3://pictures/x?endpoint=http://10.0.0.2:8333/&region=eu-west-1&style=virtual",
            S3Place("pictures", "x/", "http://10.0.0.2:8333", None, "eu-west-1", "virtual"),
        ),
        (
            "s3://pictures?endpoint=http://seaweed:8333&public-endpoint=https://s3.example.org",
            S3Place("pictures", "", "http://seaweed:8333", "https://s3.example.org"),
        ),
    ],
)
def test_a_place(url: str, place: FilePlace | S3Place) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("pictures", "neither file:// nor s3://"),
        ("/srv/files", "neither file:// nor s3://"),
        ("S4://pictures", "neither"),
        ("file://srv/files", "an absolute path"),
        ("s3://", "no name of a bucket"),
        ("s3://ab", "no name of a bucket"),
        ("s3://My_Bucket", "no name of a bucket"),
        ("s3://key:secret@pictures", "AWS_ACCESS_KEY_ID"),
        ("s3://pictures/a b", "a space"),
        ("s3://pictures/../x", "no prefix"),
        ("s3://pictures/" + "x" * 201, "no prefix"),
        ("s3://pictures#x", "a #"),
        ("s3://pictures?endpint=http://x", "did you mean endpoint?"),
        ("s3://pictures?wholly=other", "there are endpoint"),
        ("s3://pictures?endpoint=10.0.0.2:8333", "endpoint is a URL"),
        ("s3://pictures?endpoint=http://x/y", "endpoint is a URL"),
        ("s3://pictures?endpoint=http://x:99999", "endpoint is a URL"),
        ("s3://pictures?style=paht", "path or virtual"),
        ("s3://pictures?region=EU west", "a space"),
        ("s3://pictures?region=EU_west", "no name of a region"),
    ],
)
def test_what_is_wrong_is_said(url: str, said: str) -> None:
    with pytest.raises(BadPlace, match=said.replace("?", r"\?")):
        place_of(url)


def test_a_clock_that_is_off_is_seen_by_the_stores_own() -> None:
    now = datetime(2026, 1, 1, 12, 10, tzinfo=UTC)
    assert clock_off_s("Thu, 01 Jan 2026 12:00:00 GMT", now) == 600
    assert clock_off_s("Thu, 01 Jan 2026 12:20:00 GMT", now) == -600
    assert clock_off_s("", now) == 0
    assert clock_off_s("yesterday", now) == 0
