"""Text that leaves the program has no secret in it: logs of libraries, errors, usage errors."""

from __future__ import annotations

import io
import logging
import zipfile

import dask
import numpy as np
import pytest

from mrcdist import MrcdistError, plan_mrc, read_mrc
from mrcdist.batch.clusters import ClusterOptions, connect
from mrcdist.cli import main
from mrcdist.storage.redact import redact_text
from tests.support.mrc_files import mrc_bytes
from tests.support.serving import file_server, refusing

SECRET = "Tr0ub4dor3xyz"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            f"no such file: /cwd/https:/u:{SECRET}@host/a.mrc",
            "no such file: /cwd/https:/host/a.mrc",
        ),
        (f"no file /cwd/https:u:{SECRET}@host/a.mrc", "no file /cwd/https:host/a.mrc"),
        (f"no file /cwd/u:{SECRET}@em.example/a.mrc", "no file /cwd/u:***@em.example/a.mrc"),
        (f"no file /cwd/u:{SECRET}@em:80/a.mrc", "no file /cwd/u:***@em:80/a.mrc"),
        (f"no file /cwd/u:{SECRET}@nas/a.mrc", "no file /cwd/u:***@nas/a.mrc"),
        (f"'u:{SECRET}@nas-2:/a.mrc'", "'u:***@nas-2:/a.mrc'"),
        (f"0000-0002-1825-0097:{SECRET}@em.example/a", "0000-0002-1825-0097:***@em.example/a"),
        (f"u:@{SECRET}:@em.example/a.mrc", "u:***@em.example/a.mrc"),
        (f"cannot read https:///u:{SECRET}@host/a.mrc", "cannot read https:///host/a.mrc"),
        *(
            (path, path)
            for path in (
                "/data/12:30@sample/a.mrc, tcp: a@b",
                "/data/2026-11-30T12:30:05@300.0kV/a.mrc",
                "/data/2026-11-30T12:30:05@sample/a.mrc",
                "/data/20261130_12:30@sample/a.mrc",
                "/scratch/run:300kV@0.5/a.mrc",
                "C:\\Users\\me@uni.edu/a.mrc",
                "Scan 10:20@30.5/s, 17:30@node3:8786",
            )
        ),
        (f"cannot reach tls://user:{SECRET}@host:8786", "cannot reach tls://host:8786"),
        (f"<File-like object, https://u:{SECRET}@h/a.zip>", "<File-like object, https://h/a.zip>"),
        (f"<Error><Token-0>{SECRET}</Token-0></Error>", "<Error><Token-0>***</Token-0></Error>"),
        (f"{{'Token-0': '{SECRET}'}}", "{'Token-0': '***'}"),
        (f"b'x-amz-security-token': b'{SECRET}'", "b'x-amz-security-token': b'***'"),
        ("file:/data/a:b@c.mrc, s3://bucket/a.mrc", "file:/data/a:b@c.mrc, s3://bucket/a.mrc"),
    ],
)
def test_secrets_are_removed_from_any_text(text, shown):
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", f"https:/user:{SECRET}@127.0.0.1:9/a.mrc"],
        ["info", f"https:user:{SECRET}@127.0.0.1:9/a.mrc"],
        ["info", f"user:{SECRET}@127.0.0.1:9/a.mrc"],
        ["info", f"https:///user:{SECRET}@127.0.0.1:9/a.mrc"],
        ["info", f"https://127.0.0.1:9/a.mrc;token={SECRET}", "--chunks", "no"],
        ["info", "a.mrc", f"https://user:{SECRET}@host/b.mrc"],
        [f"https://user:{SECRET}@host/b.mrc"],
        ["mean", "a.mrc", "--out", "m.npy", "--scheduler", f"tls://user:{SECRET}@127.0.0.1:9"],
        ["mean", "a.mrc", f"--scheduler=tls://user:{SECRET}@127.0.0.1:port", "--workers", "x"],
        ["info", "a.mrc", f"--no-such=https://user:{SECRET}@host/b.mrc"],
    ],
)
def test_errors_of_the_command_line_show_no_secret(arguments, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = "".join(capfd.readouterr())
    assert ended.value.code
    assert said
    assert SECRET not in said


@pytest.fixture
def logs(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


def test_logs_of_an_archive_on_a_web_server_show_no_secret(logs):
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        archive.writestr("a.mrc", mrc_bytes(np.zeros((2, 4, 4), "u2")))
    with file_server(packed.getvalue()) as url:
        login = url.replace("://", f"://user:{SECRET}@")
        plan_mrc(f"zip://a.mrc::{login}").source[...]
    assert logs.text
    assert SECRET not in logs.text


def test_token_behind_the_name_of_a_file_is_in_nothing_that_is_shown(capfd):
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
def test_logs_of_s3_show_no_secret(logs, login):
    """A store that refuses a session token may repeat it."""
    echo = f"<Error><Code>InvalidToken</Code><Token-0>{SECRET}token</Token-0></Error>".encode()
    with refusing(403, echo) as endpoint, dask.config.set({"mrcdist.retries": 0}):
        options = {
            "endpoint_url": endpoint.replace("://", f"://{login}"),
            "key": "AKIAIOSFODNN7EXAMPLE",
            "secret": f"{SECRET}secret",
            "token": f"{SECRET}token",
        }
        with pytest.raises(MrcdistError) as caught:
            plan_mrc("s3://bucket/a.mrc", storage_options=options)
    assert login or "<Token-0>***" in logs.text
    assert SECRET not in logs.text
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("protocol", ["", "tcp://", "tls://"])
def test_login_of_a_scheduler_is_not_shown(protocol):
    told = []
    options = ClusterOptions(scheduler=f"{protocol}user:{SECRET}@127.0.0.1:9")
    with (
        dask.config.set({"mrcdist.scheduler-timeout": 1}),
        pytest.raises(MrcdistError) as caught,
        connect(options, say=told.append),
    ):
        pass
    assert caught.value.code == "scheduler-unreachable"
    assert "127.0.0.1:9" in str(caught.value)
    assert SECRET not in f"{caught.value} {told}"
