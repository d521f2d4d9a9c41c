"""Logs and messages about stores contain no secrets."""

from __future__ import annotations

import io
import logging
import zipfile
from functools import partial

import dask
import numpy as np
import pytest

import mrcdist
from mrcdist import MrcdistError, plan_mrc, read_mrc
from mrcdist.batch.clusters import ClusterOptions, connect
from mrcdist.cli import main
from mrcdist.progress import Progress
from tests.support.mrc_files import counting, mrc_bytes
from tests.support.s3 import SECRET_KEY
from tests.support.serving import file_server, refusing

SECRET = "Tr0ub4dor3xyz"


@pytest.fixture
def logs(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


def test_logs_about_an_archive_on_a_web_server_contain_no_password(logs):
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        archive.writestr("a.mrc", mrc_bytes(np.zeros((2, 4, 4), "u2")))
    with file_server(packed.getvalue()) as url:
        login = url.replace("://", f"://user:{SECRET}@")
        plan_mrc(f"zip://a.mrc::{login}").source[...]
    assert logs.text
    assert SECRET not in logs.text


def test_token_after_a_semicolon_in_a_url_is_redacted(capfd):
    with file_server(mrc_bytes(np.zeros((2, 4, 4), "u2"))) as server:
        url = f"{server};token={SECRET}"
        plan = plan_mrc(url)
        [data] = read_mrc(url)
        with pytest.raises(SystemExit) as ended:
            main(["info", url, "--json"])
        assert not ended.value.code
        assert plan.location.name == server.rpartition("/")[2]
    shown = f"{plan} {plan._repr_html_()} {data} {''.join(capfd.readouterr())}"
    assert "original_filename" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("login", ["", f"user:{SECRET}@"])
def test_logs_and_errors_of_s3_contain_no_credentials(logs, login):
    """A store may repeat a refused session token in its response."""
    echo = f"<Error><Code>InvalidToken</Code><Token-0>{SECRET}token</Token-0></Error>".encode()
    with refusing(403, echo) as endpoint, dask.config.set({"mrcdist.retries": 0}):
        options = {
            "endpoint_url": endpoint.replace("://", f"://{login}"),
            "key": "FAKE-ACCESS-KEY",
            "secret": f"{SECRET}secret",
            "token": f"{SECRET}token",
        }
        with pytest.raises(MrcdistError) as caught:
            plan_mrc("s3://bucket/a.mrc", storage_options=options)
    assert login or "<Token-0>***" in logs.text
    assert SECRET not in logs.text
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("protocol", ["", "tcp://", "tls://"])
def test_credentials_in_the_address_of_a_scheduler_are_redacted(protocol):
    messages = []
    options = ClusterOptions(scheduler=f"{protocol}user:{SECRET}@127.0.0.1:9")
    with (
        dask.config.set({"mrcdist.scheduler-timeout": 1}),
        pytest.raises(MrcdistError) as caught,
        connect(options, log=messages.append),
    ):
        pass
    assert caught.value.code == "scheduler-unreachable"
    assert "127.0.0.1:9" in str(caught.value)
    assert SECRET not in f"{caught.value} {messages}"


def test_progress_of_copying_a_file_contains_no_signature(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mrcdist.storage.layers.Progress", partial(Progress, patience=0))
    options = {"simplecache": {"cache_storage": str(tmp_path / "cache")}}
    with file_server(mrc_bytes(counting((8, 4, 5), "int16"))) as url:
        signed = f"simplecache::{url}?X-Amz-Signature={SECRET_KEY}"
        [ds] = mrcdist.read_mrc(signed, storage_options=options)
        ds["data"].compute()
    printed = capsys.readouterr().err
    assert "copying" in printed
    assert SECRET_KEY not in printed
