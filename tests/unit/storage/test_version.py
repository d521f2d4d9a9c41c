"""Versions: whether they identify a file, and how they pin a request."""

from __future__ import annotations

import pytest

from mrcdist.storage.version import Version, remote_version

DATE = "Mon, 01 Jan 2024 10:00:00 GMT"
NGINX = Version(500, "etag", '"65a1b2c3-1f4"')


@pytest.mark.parametrize(
    "version",
    [
        Version(5, "version_id", "3"),
        Version(5, "etag", '"d41d8cd98f00b204e9800998ecf8427e-5"'),
        Version(5, "checksum", "7"),
        Version(5, "mtime_ns", "1, ctime_ns 2"),
        Version(5, "modified", "1704103200.5"),
        Version(5, "modified", "2024-01-01 10:00:00.123456+00:00"),
        Version(501, "etag", NGINX.value),
        Version(500, "etag", '"1f4-60e5a1b2c3d4e"'),  # Apache's: size and microseconds
        Version(5, "checksum", "7").within(Version(9)),
        Version(5, "modified", DATE).within(Version(9, "etag", '"x"')),
        Version(5).within(Version(9, "etag", '"x"')),
    ],
    ids=str,
)
def test_exact_versions_identify_the_content(version):
    assert version.exact


@pytest.mark.parametrize(
    "version",
    [
        Version(5),
        Version(None),
        Version(5, "modified", DATE),
        Version(5, "modified", "1704103200.0"),
        Version(5, "modified", "2024-01-01 10:00:00+00:00"),
        Version(5, "etag", 'W/"abc"'),
        NGINX,
        Version(5).within(Version(9)),
        Version(5).within(NGINX),
        Version(5, "modified", DATE).within(Version(9)),
        Version(5, "modified", DATE).within(Version(9, "modified", DATE)),
    ],
    ids=str,
)
def test_inexact_versions_may_be_shared_by_two_files(version):
    assert not version.exact


@pytest.mark.parametrize(
    ("version", "response", "reported"),
    [
        (NGINX, {"ETag": '"2"', "LastModified": DATE}, Version(500, "etag", '"2"')),
        (NGINX, {"LastModified": DATE}, None),
        (Version(5, "version_id", "3"), {"VersionId": "4"}, Version(5, "version_id", "4")),
        (Version(5, "version_id", "3"), {"VersionId": "null", "ETag": '"2"'}, None),
        (Version(5, "modified", DATE), {"Last-Modified": DATE}, Version(5, "modified", DATE)),
        (Version(5), {"ETag": '"2"'}, None),
    ],
)
def test_response_reports_a_version_of_the_planned_kind_or_none(version, response, reported):
    assert version.reported_by(response) == reported


@pytest.mark.parametrize(
    ("version", "second", "settled"),
    [
        (Version(5, "modified", DATE), "00", False),
        (Version(5, "modified", DATE), "01", True),
        (Version(5, "modified", "Mon, 01 Jan 2024 10:00:09 GMT"), "00", True),  # two clocks
        (Version(500, "etag", '"65928d20-1f4"'), "00", False),
        (Version(500, "etag", 'W/"65928d20-1f4"'), "00", False),
        (Version(500, "etag", '"65928d20-1f4"'), "01", True),
        (Version(501, "etag", '"65928d20-1f4"'), "00", True),
        (Version(5), "00", True),
        (Version(5, "modified", "yesterday"), "00", True),
    ],
    ids=str,
)
def test_date_in_whole_seconds_is_settled_once_its_second_is_over(version, second, settled):
    assert version.is_settled(f"Mon, 01 Jan 2024 10:00:{second} GMT") is settled
    assert version.is_settled(None)
    assert version.is_settled("now")


@pytest.mark.parametrize(("age", "settled"), [(None, False), ("0", False), ("100", True)])
def test_age_of_a_cached_response_is_added_to_its_date(age, settled):
    assert Version(5, "modified", DATE).is_settled(DATE, age) is settled
    assert Version(5, "modified", DATE).is_settled(DATE, "long")


def test_members_of_two_versions_of_an_archive_have_two_versions():
    one, two = (Version(5).within(Version(9, "modified", date)) for date in (DATE, "later"))
    assert one != two


@pytest.mark.parametrize(
    ("version", "http", "s3"),
    [
        (Version(5, "etag", '"x"'), {"If-Match": '"x"'}, {"IfMatch": '"x"'}),
        (Version(5, "etag", 'W/"x"'), {}, {"IfMatch": 'W/"x"'}),
        (Version(5, "version_id", "x"), {}, {"VersionId": "x"}),
        (Version(5, "modified", DATE), {}, {}),
        (Version(5), {}, {}),
    ],
    ids=str,
)
def test_requests_are_pinned_by_version_id_or_etag(version, http, s3):
    assert version.http_condition == http
    assert version.s3_condition == s3


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"size": 5, "ETag": '"abc"', "VersionId": None}, Version(5, "etag", '"abc"')),
        ({"size": 5, "ETag": '"abc"', "VersionId": "null"}, Version(5, "etag", '"abc"')),
        ({"size": 5, "ETag": '"abc"', "VersionId": "v"}, Version(5, "version_id", "v")),
        ({"size": 5, "Last-Modified": "Mon"}, Version(5, "modified", "Mon")),
        ({"size": 5, "mtime": 12.5}, Version(5, "modified", "12.5")),
        ({"size": None, "etag": "x"}, Version(None, "etag", "x")),
        ({"size": 5, "modify": "20240101"}, Version(5, "modified", "20240101")),
        ({"size": 5, "modificationTime": 17}, Version(5, "modified", "17")),
        ({"size": 5, "sha": "abc"}, Version(5, "checksum", "abc")),
        ({"size": 5, "CRC": 7, "date_time": (2024, 1, 1)}, Version(5, "checksum", "7")),
        ({"size": 5}, Version(5)),
    ],
    ids=str,
)
def test_version_is_the_most_exact_one_reported(info, version):
    assert remote_version(info) == version


def test_version_is_printed_with_size_and_validator():
    assert str(Version(5, "etag", '"abc"')) == '5 bytes, etag "abc"'
    assert str(Version(None)) == "unknown size"
