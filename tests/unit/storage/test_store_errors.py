"""Errors of stores, URLs and storage options have codes, and name the argument concerned."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from mrcdist.errors import ArgumentError
from mrcdist.storage.location import Location
from mrcdist.storage.store_errors import explain_failure


def response(status: int, code: str = "") -> ClientError:
    return ClientError(
        {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}, "GetObject"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (response(400, "ExpiredToken"), "access-denied"),
        (response(400, "InvalidArgument"), "request-refused"),
        (response(403), "access-denied"),
        (response(404, "NoSuchKey"), "file-missing"),
        (response(412), "file-changed"),
        (response(416), "file-changed"),
        (NoCredentialsError(), "credentials-missing"),
        (PermissionError(13, "denied"), "access-denied"),
        (FileNotFoundError(2, "none"), "file-missing"),
        (IsADirectoryError(21, "folder"), "file-is-folder"),
        (OSError(5, "broken"), "read-failed"),
    ],
    ids=str,
)
def test_errors_of_stores_have_distinct_codes(error: Exception, code: str) -> None:
    assert explain_failure(error, "s3://b/k", str).code == code


@pytest.mark.parametrize(
    ("filename", "options", "code"),
    [
        (3, None, "argument-type-invalid"),
        ("", None, "filename-invalid"),
        ("a\0.mrc", None, "filename-invalid"),
        ("a.mrc", "anon", "argument-type-invalid"),
    ],
)
def test_invalid_locations_have_distinct_codes(
    filename: object, options: object, code: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        Location.of(filename, options, "destination")
    assert caught.value.code == code
    assert caught.value.argument == ("storage_options" if options else "destination")


@pytest.mark.parametrize(
    ("url", "options", "code", "argument"),
    [
        ("nowhere://a.mrc", {}, "filesystem-unavailable", "filename"),
        ("github://a.mrc", {}, "filesystem-unavailable", "storage_options"),
        (
            "s3://b/k.mrc",
            {"config_kwargs": {"max_pool_connections": -1}},
            "storage-options-invalid",
            "storage_options",
        ),
    ],
)
def test_errors_of_filesystems_name_the_argument(
    url: str, options: dict[str, object], code: str, argument: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        Location.of(url, options).filesystem()
    assert (caught.value.code, caught.value.argument) == (code, argument)
