"""Errors of stores, of URLs and of storage options have codes by which programs tell them apart."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from mrcdist.errors import ArgumentError
from mrcdist.storage.location import Location
from mrcdist.storage.store_errors import explain_failure


def answer(status: int, code: str = "") -> ClientError:
    return ClientError(
        {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}, "GetObject"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (answer(400, "ExpiredToken"), "access-denied"),
        (answer(400, "InvalidArgument"), "request-refused"),
        (answer(403), "access-denied"),
        (answer(404, "NoSuchKey"), "file-missing"),
        (answer(412), "file-changed"),
        (answer(416), "file-changed"),
        (NoCredentialsError(), "credentials-missing"),
        (PermissionError(13, "denied"), "access-denied"),
        (FileNotFoundError(2, "none"), "file-missing"),
        (IsADirectoryError(21, "folder"), "file-is-folder"),
        (OSError(5, "broken"), "read-failed"),
    ],
    ids=str,
)
def test_errors_of_stores_are_told_apart_by_code(error: Exception, code: str) -> None:
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
def test_invalid_locations_are_told_apart_by_code(
    filename: object, options: object, code: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        Location.of(filename, options)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("url", "options", "code"),
    [
        ("nowhere://a.mrc", {}, "filesystem-unavailable"),
        (
            "s3://b/k.mrc",
            {"config_kwargs": {"max_pool_connections": -1}},
            "storage-options-invalid",
        ),
    ],
)
def test_filesystems_that_cannot_be_made_are_told_apart_by_code(
    url: str, options: dict[str, object], code: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        Location.of(url, options).filesystem()
    assert caught.value.code == code
