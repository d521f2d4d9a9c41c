"""Secrets are redacted in logs of libraries, errors and usage errors."""

from __future__ import annotations

import time

import pytest

from mrcdist.cli import main
from mrcdist.storage.redact import redact_text, remember_secrets

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
        # Nested or adjacent URLs.
        (
            f"no file s3:/b/a.mrc,https://h/a.mrc#{SECRET}",
            "no file s3:/b/a.mrc,https://h/a.mrc",
        ),
        (f"https:/proxy/x://[h:{SECRET}", "https:/proxy/x://***"),
        (f"tcp://s3:/u:{SECRET}@host", "tcp://s3:/host"),
        (f"s3://b/a,https://h/a,https://u:{SECRET}@host", "s3://b/a,https://h/a,https://host"),
        (f"https:/h/a,https:/u:{SECRET}@host", "https:/h/a,https:/host"),
        (f"{'s3://b/a,' * 40}s3://u:{SECRET}@h", f"{'s3://b/a,' * 20}s3://***"),
        (f"2026-11-30T12:30:u:{SECRET}@host/a", "2026-11-30T12:30:u:***@host/a"),
        (f"/data/12:30:05:u:{SECRET}@nas/a.mrc", "/data/12:30:05:u:***@nas/a.mrc"),
        (
            f"no scheduler at tcp://u:{SECRET}@[fe80::1%eth0]:80",
            "no scheduler at tcp://[fe80::1%eth0]:80",
        ),
        (
            "tcp://[::1]:8786, tls://[2001:db8::2:1]:8786",
            "tcp://[::1]:8786, tls://[2001:db8::2:1]:8786",
        ),
        (
            f"simplecache::https://[::1]:80/a::s3://u:{SECRET}@b",
            "simplecache::https://[::1]:80/a::s3://b",
        ),
        (f"file:///cwd/https:u:{SECRET}@host", "file:///cwd/https:host"),
        (f"cannot reach tls://user:{SECRET}@host:8786", "cannot reach tls://host:8786"),
        (f"<File-like object, https://u:{SECRET}@h/a.zip>", "<File-like object, https://h/a.zip>"),
        (f"<Error><Token-0>{SECRET}</Token-0></Error>", "<Error><Token-0>***</Token-0></Error>"),
        (f"{{'Token-0': '{SECRET}'}}", "{'Token-0': '***'}"),
        (f"b'x-amz-security-token': b'{SECRET}'", "b'x-amz-security-token': b'***'"),
        (f"b'X-Amz-Security-Token: {SECRET}'", "b'X-Amz-Security-Token: ***'"),
        # Responses of credential servers, as logged by botocore.
        (f"<SecretAccessKey>{SECRET}</SecretAccessKey>", "<SecretAccessKey>***</SecretAccessKey>"),
        (f"<SessionToken>{SECRET}=</SessionToken>", "<SessionToken>***</SessionToken>"),
        (f'{{"SecretAccessKey" : "{SECRET}"}}', '{"SecretAccessKey" : "***"}'),
        (f'"Token" : "{SECRET}/+="', '"Token" : "***"'),
        (f"{{'Authorization': 'Bearer {SECRET}'}}", "{'Authorization': 'Bearer ***'}"),
        (f"Authorization: Basic {SECRET}==", "Authorization: Basic ***"),
        (f"aws_secret_access_key={SECRET}", "aws_secret_access_key=***"),
        (f"AccountKey={SECRET}==;Suffix=x", "AccountKey=***;Suffix=x"),
        (f"unexpected argument (secret={SECRET})", "unexpected argument (secret=***)"),
        (f"Keys(key='AKIA', secret_key='{SECRET}')", "Keys(key='AKIA', secret_key='***')"),
        (f"Keys(token='{SECRET}', n=1)", "Keys(token='***', n=1)"),
        (f'password="it\'s {SECRET}", n=1', 'password="***", n=1'),
        (f"{{'access_token': 'a, {SECRET}; b', 'n': 1}}", "{'access_token': '***', 'n': 1}"),
        (f"'secret': 'it\\'s {SECRET}'", "'secret': '***'"),
        (f"aws_secret_access_key = {SECRET}", "aws_secret_access_key = ***"),
        (f"(b'x-amz-security-token', b'{SECRET}')", "(b'x-amz-security-token', b'***')"),
        # Passwords or users of several kilobytes, such as tokens.
        (f"no u:{'p' * 8000}{SECRET}@host/x", "no u:***@host/x"),
        (f"no {'u' * 8000}:{SECRET}@em:80/x", f"no {'u' * 8000}:***@em:80/x"),
        (f"no https:u:{'p' * 8000}{SECRET}@host/x?sig={SECRET}", "no https:host/x?sig=***"),
        (f"no https:{'u' * 8000}:{SECRET}@host/x", "no https:host/x"),
        (f"no scheduler at u:{SECRET}@[::1]:8786", "no scheduler at u:***@[::1]:8786"),
        *(
            (text, text)
            for text in (
                "a password: none was given; secret={secret}".replace("{secret}", "***"),
                "<Token>a</Token> of aws_access_key_id=AKIA, token: 3",
                "/data/secret/a.mrc, /data/password.mrc",
                "{'/data/secret.mrc': 'damaged', 'token': 3}",
            )
        ),
        ("file:/data/a:b@c.mrc, s3://bucket/a.mrc", "file:/data/a:b@c.mrc, s3://bucket/a.mrc"),
    ],
)
def test_secrets_are_redacted_in_any_text(text, shown):
    assert redact_text(text) == shown


def test_names_in_a_query_without_values_are_not_redacted_in_other_texts():
    remember_secrets("https://host/a.mrc?signature&x-amz-credential=", {})
    assert redact_text("no signature, no x-amz-credential") == "no signature, no x-amz-credential"


@pytest.mark.parametrize(
    "unit",
    ["a.-", "1.", "=a", "a:", "a@", "a:b@", " a:b@c.d/", "https:", "https:a@", "@https:", "https:/",
     "https://", "secret='", "secret>", "'token': '", "\\'"],
)  # fmt: skip
def test_redaction_takes_linear_time(unit):
    def seconds(size: int) -> float:
        start = time.process_time()
        redact_text(unit * (size // len(unit)))
        return time.process_time() - start

    assert seconds(100_000) < 20 * seconds(10_000) + 0.1


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", f"https:/user:{SECRET}@127.0.0.1:9/a.mrc"],
        ["info", f"https:user:{SECRET}@127.0.0.1:9/a.mrc"],
        ["info", f"user:{SECRET}@127.0.0.1:9/a.mrc"],
        ["info", f"https:///user:{SECRET}@127.0.0.1:9/a.mrc"],
        ["info", f"https://127.0.0.1:9/a.mrc;token={SECRET}", "--chunks", "no"],
        ["info", "a.mrc", "--storage-option", "key=a", f"secret={SECRET}"],
        ["info", "a.mrc", f"https://user:{SECRET}@host/b.mrc"],
        [f"https://user:{SECRET}@host/b.mrc"],
        ["mean", "a.mrc", "--out", "m.npy", "--scheduler", f"tls://user:{SECRET}@127.0.0.1:9"],
        ["mean", "a.mrc", f"--scheduler=tls://user:{SECRET}@127.0.0.1:port", "--workers", "x"],
        ["info", "a.mrc", f"--no-such=https://user:{SECRET}@host/b.mrc"],
    ],
)
def test_errors_of_the_command_line_contain_no_secret(arguments, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = "".join(capfd.readouterr())
    assert ended.value.code
    assert said
    assert SECRET not in said
