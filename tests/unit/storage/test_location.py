"""Names, siblings, listings and identities of all kinds of URLs; redaction of secrets."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import ClassVar

import dask
import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

import mrcdist
from mrcdist.errors import ArgumentError
from mrcdist.storage.location import Location, here
from mrcdist.storage.stored_file import read_whole
from tests.support.mrc_files import counting, mrc_bytes

SECRET = "s3cr3t-not-real"


class TestNames:
    @pytest.mark.parametrize(
        ("url", "name", "sibling"),
        [
            ("/data/run/a_movie.mrc", "a_movie.mrc", "/data/run/new.txt"),
            ("/a_movie.mrc", "a_movie.mrc", "/new.txt"),
            ("/data/run #1/a?b*_movie.mrc", "a?b*_movie.mrc", "/data/run #1/new.txt"),
            ("file:///data/a_movie.mrc", "a_movie.mrc", "/data/new.txt"),
            ("local:///data/a_movie.mrc", "a_movie.mrc", "/data/new.txt"),
            ("s3://bucket/run/a_movie.mrc", "a_movie.mrc", "s3://bucket/run/new.txt"),
            ("s3://bucket/a_movie.mrc", "a_movie.mrc", "s3://bucket/new.txt"),
            ("s3://bucket/run#1/a#2_movie.mrc", "a#2_movie.mrc", "s3://bucket/run#1/new.txt"),
            ("s3://bucket/why?/a?_movie.mrc", "a?_movie.mrc", "s3://bucket/why?/new.txt"),
            ("s3://bucket/a_movie.mrc?versionId=xyz", "a_movie.mrc", "s3://bucket/new.txt"),
            ("memory://a_movie.mrc", "a_movie.mrc", "memory://new.txt"),
            ("memory://run/a_movie.mrc", "a_movie.mrc", "memory://run/new.txt"),
            ("memory:///run/a_movie.mrc", "a_movie.mrc", "memory:///run/new.txt"),
            ("https://host:81/run/a_movie.mrc", "a_movie.mrc", "https://host:81/run/new.txt"),
            (
                "https://host/run/a_movie.mrc?sig=x/y&n=1#frag",
                "a_movie.mrc",
                "https://host/run/new.txt?sig=x/y&n=1",
            ),
            ("https://host/a%20b_movie.mrc", "a b_movie.mrc", "https://host/new.txt"),
            ("https://host/a b_movie.mrc", "a b_movie.mrc", "https://host/new.txt"),
            ("https://host/a%2Fb_movie.mrc", "a%2Fb_movie.mrc", "https://host/new.txt"),
            ("https://host/caf%E9_movie.mrc", "caf%E9_movie.mrc", "https://host/new.txt"),
            ("s3://bucket/a%20b_movie.mrc", "a%20b_movie.mrc", "s3://bucket/new.txt"),
            (
                "simplecache::https://host/a%20b_movie.mrc",
                "a b_movie.mrc",
                "simplecache::https://host/new.txt",
            ),
            ("sftp://user@host/run/a_movie.mrc", "a_movie.mrc", "sftp://user@host/run/new.txt"),
            (
                "abfs://box@account.dfs.core.windows.net/a_movie.mrc",
                "a_movie.mrc",
                "abfs://box@account.dfs.core.windows.net/new.txt",
            ),
            (
                "simplecache::s3://bucket/run/a_movie.mrc",
                "a_movie.mrc",
                "simplecache::s3://bucket/run/new.txt",
            ),
            (
                "zip://run/a_movie.mrc::s3://bucket/all.zip",
                "a_movie.mrc",
                "zip://run/new.txt::s3://bucket/all.zip",
            ),
            (
                "simplecache::zip://a_movie.mrc::/data/all.zip",
                "a_movie.mrc",
                "simplecache::zip://new.txt::/data/all.zip",
            ),
            (
                "https://host/run/a_movie.mrc;token=x;v=1?sig=y",
                "a_movie.mrc",
                "https://host/run/new.txt;token=x;v=1?sig=y",
            ),
            ("https://host/a;b_movie.mrc", "a;b_movie.mrc", "https://host/new.txt"),
            ("filecache::/data/a_movie.mrc", "a_movie.mrc", "filecache::/data/new.txt"),
        ],
    )
    def test_urls_have_names_and_siblings(self, url, name, sibling):
        location = Location.of(url, {"anon": True})
        assert location.name == name
        assert location.sibling("new.txt").url == sibling
        assert location.sibling("new.txt").storage_options == {"anon": True}
        assert location.sibling(name).name == name

    @pytest.mark.parametrize("name", ["a b.txt", "50% π.txt", "a?b#c.txt", "a%2Fb.txt", "caf%E9"])
    def test_name_of_a_web_sibling_is_quoted(self, name):
        location = Location("https://host/run/a_movie.mrc?sig=x").sibling(name)
        assert location.name == name
        assert location.url.startswith("https://host/run/")
        assert location.url.endswith("?sig=x")
        quoted = location.url.removeprefix("https://host/run/").removesuffix("?sig=x")
        assert re.fullmatch(r"[\w.%]+", quoted, re.ASCII)

    def test_paths_become_absolute_and_home_is_expanded(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/home/somebody")
        for given_, url in {
            "a.mrc": f"{tmp_path}/a.mrc",
            "./run/a.mrc": f"{tmp_path}/run/a.mrc",
            Path("run/a.mrc"): f"{tmp_path}/run/a.mrc",
            "file://a.mrc": f"{tmp_path}/a.mrc",
            "~/a.mrc": "/home/somebody/a.mrc",
            "/data/a.mrc": "/data/a.mrc",
        }.items():
            assert Location.of(given_).url == url

    @pytest.mark.parametrize(
        "name",
        ["~no-user/a.mrc", "~backup.mrc", "./~/a.mrc", "a::b.mrc", "é\udcff.mrc"],
    )
    def test_unusual_names_of_existing_files_are_taken_literally(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"12345")
        location = Location.of(name)
        assert location.url == str(tmp_path / name)
        assert location.is_local
        assert location.name == Path(name).name
        assert location.sibling("new.txt").url == str((tmp_path / name).with_name("new.txt"))
        assert read_whole(location, 5) == b"12345"

    def test_double_colons_join_a_chain_if_no_such_file_exists(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert not Location.of("filecache::b.mrc").is_local

    @pytest.mark.parametrize("url", ["memory://a/b.mrc", "/a/b.mrc"])
    def test_options_of_a_upath_are_used(self, url):
        class UPath:
            """Like that of universal_pathlib, which is a PathLike only for local files."""

            protocol, path = "memory", url
            storage_options: ClassVar[dict[str, object]] = {"one": 1, "two": 2}

            def __str__(self):
                return url

        location = Location.of(UPath(), {"two": 3})
        assert location == Location(url, {"one": 1, "two": 3})

    @pytest.mark.parametrize(
        ("url", "nested", "by_protocol"),
        [
            (
                "simplecache::memory:///run/a.mrc",
                {"target_options": {"one": 1}, "target_protocol": "memory"},
                {"memory": {"one": 1}},
            ),
            (
                "zip://a.mrc::simplecache::s3://bucket/all.zip",
                {
                    "mode": "r",
                    "target_options": {
                        "target_options": {"anon": True},
                        "target_protocol": "s3",
                        "fo": "bucket/all.zip",
                    },
                    "target_protocol": "simplecache",
                    "fo": "bucket/all.zip",
                },
                {"zip": {"mode": "r"}, "s3": {"anon": True}},
            ),
            ("zip://a.mrc", {"fo": "/data/all.zip"}, {"fo": "/data/all.zip"}),
        ],
    )
    def test_options_of_a_chained_upath_are_grouped_by_protocol(self, url, nested, by_protocol):
        class UPath:
            """Like that of universal_pathlib 0.3.10, which nests the options of a chain."""

            protocol, path, storage_options = "any", url, nested

            def __str__(self):
                return url

        kept = "zip://a.mrc::s3://bucket/all.zip"  # an archive's own copy is not used
        assert Location.of(UPath()) == Location(kept if kept[-9:] in url else url, by_protocol)

    def test_nul_in_a_name_is_refused(self):
        with pytest.raises(ArgumentError, match="NUL"):
            Location.of("a\0b.mrc")

    @pytest.mark.parametrize("url", ["/data/a.mrc", "file:///data/a.mrc", "local:///a.mrc"])
    def test_paths_and_file_urls_are_local(self, url):
        assert Location.of(url).is_local

    @pytest.mark.parametrize(
        "url", ["s3://b/a.mrc", "memory://a.mrc", "https://h/a.mrc", "simplecache::/data/a.mrc"]
    )
    def test_remote_urls_are_not_local(self, url):
        assert not Location.of(url).is_local

    def test_sidecar_at_the_root_of_a_store_is_found(self):
        fs = fsspec.filesystem("memory")
        numbers = counting((6, 4, 5), "uint16")
        sidecar = b"Scan - Type = Raster\nScan - Size X = 3\nScan - Size Y = 2\n"
        fs.pipe_file("memory://20200101_00001_movie.mrc", mrc_bytes(numbers))
        fs.pipe_file("memory://20200101_00001_info.txt", sidecar)
        try:
            plan = mrcdist.plan_mrc("memory://20200101_00001_movie.mrc")
            assert plan.sidecar is not None
        finally:
            fs.rm("memory://20200101_00001_movie.mrc")
            fs.rm("memory://20200101_00001_info.txt")


class TestShown:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("/data/a?b=c.mrc", "/data/a?b=c.mrc"),
            ("s3://bucket/run#1/a.mrc", "s3://bucket/run#1/a.mrc"),
            ("memory:///run/a.mrc", "memory:///run/a.mrc"),
            (f"s3://key:{SECRET}@bucket/a.mrc", "s3://bucket/a.mrc"),
            (f"https://{SECRET}@host/a.mrc", "https://host/a.mrc"),
            (f"https://user:{SECRET}@host:81/a.mrc", "https://host:81/a.mrc"),
            (f"https://user:p@{SECRET}@host/a.mrc", "https://host/a.mrc"),
            ("abfs://box@account/a.mrc", "abfs://box@account/a.mrc"),
            (f"sftp://user:{SECRET}@host/a.mrc", "sftp://host/a.mrc"),
            (f"https://host/a.mrc?token={SECRET}&x=", "https://host/a.mrc?token=***&x=***"),
            (f"https://host/a.mrc?{SECRET}", "https://host/a.mrc?***"),
            (f"https://host/a.mrc?a=b&{SECRET}", "https://host/a.mrc?a=***&***"),
            (f"https://host/a.mrc#{SECRET}", "https://host/a.mrc"),
            (f"simplecache::https://h/a.mrc?t={SECRET}", "simplecache::https://h/a.mrc?t=***"),
            (
                f"zip://a.mrc::https://u:{SECRET}@h/all.zip?t={SECRET}",
                "zip://a.mrc::https://h/all.zip?t=***",
            ),
            (f"http://[{SECRET}/a.mrc", "http://***"),
            (f"ftp://user:p/{SECRET}@host/a.mrc", "ftp://host/a.mrc"),
            (f"ftp://user:p#{SECRET}@host/a.mrc", "ftp://host/a.mrc"),
            (f"https://user:p?{SECRET}@host/a.mrc", "https://host/a.mrc"),
            ("https://host:81/run@1/a.mrc", "https://host:81/run@1/a.mrc"),
            (f"https://host/a.mrc?sig=ab::{SECRET}", "https://host/a.mrc?sig=***"),
            (f"https:/user:{SECRET}@host/a.mrc", "https:/host/a.mrc"),
            (f"/data/https:/user:{SECRET}@host/a.mrc?t={SECRET}", "/data/https:/host/a.mrc?t=***"),
            (f"https://host/a.mrc;token={SECRET}", "https://host/a.mrc;token=***"),
            (f"https://host/run;a={SECRET};b={SECRET}/a.mrc?c=d", None),
            ("/data/run;x=1/a.mrc", "/data/run;x=1/a.mrc"),
            (f"https://h/a.mrc,https://u:{SECRET}@host", "https://h/a.mrc,https://host"),
            ("https://[::1]:80/a.mrc", "https://[::1]:80/a.mrc"),
        ],
    )
    def test_shown_url_has_no_user_password_or_query_values(self, url, shown):
        location = Location(url)
        shown = shown or "https://host/run;a=***;b=***/a.mrc?c=***"
        assert location.shown == shown
        assert repr(location) == f"Location({shown!r})"
        assert SECRET not in here(location, 5, 10)
        assert "bytes 5-9" in here(location, 5, 10)

    @pytest.mark.parametrize(
        ("options", "value"),
        [
            ({"key": "k", "secret": SECRET}, SECRET),
            ({"token": SECRET}, SECRET),
            ({"password": SECRET, "username": "somebody"}, SECRET),
            ({"sas_token": SECRET.encode()}, SECRET),
            ({"auth": ("user", SECRET)}, SECRET),
            ({"connection_string": f"AccountKey={SECRET}"}, f"AccountKey={SECRET}"),
            ({"client_kwargs": {"aws_session_token": SECRET}}, SECRET),
            ({"client_kwargs": {"headers": [("X-Api-Key", SECRET)]}}, SECRET),
            ({"headers": {"Authorization": f"Bearer {SECRET}"}}, f"Bearer {SECRET}"),
            ({"headers": {"Authorization": f"Bearer {SECRET}"}}, SECRET),
            ({"conn_str": f"AccountName=a;AccountKey={SECRET}"}, SECRET),
            *(({name: SECRET}, SECRET) for name in ("pwd", "pw", "passcode", "bearer", "pat")),
            ({"cookies": {"a": SECRET}}, SECRET),
            ({"s3": {"secret": SECRET}, "simplecache": {"cache_storage": "/tmp"}}, SECRET),
        ],
        ids=lambda value: str(value).replace(SECRET, "..."),
    )
    def test_secret_options_are_redacted(self, options, value):
        location = Location.of("s3://bucket/a.mrc", options)
        assert SECRET not in repr(location) + str(location) + location.shown
        assert location.scrub(f"cannot log in with {value}!") == "cannot log in with ***!"

    @pytest.mark.parametrize(
        "said",
        [
            f"404, url='https://h/a.mrc?X-Amz-Credential=AKIA/2024&X-Amz-Signature={SECRET}'",
            f"could not get https://h/a.mrc?X-Amz-Signature={SECRET}",
            f"see <https://user:{SECRET}@other.host/elsewhere>",
            f"redirected to https://h/b.mrc?sig={SECRET}%3D",
            f"signature {SECRET} does not match",
            f"zip://a::https://h/all.zip?{SECRET}",
            f"no file /cwd/a.mrc\n;token={SECRET}",
        ],
    )
    def test_presigned_urls_are_redacted_in_any_quotes(self, said):
        url = f"https://h/a.mrc?X-Amz-Credential=AKIA%2F2024&X-Amz-Signature={SECRET}"
        scrubbed = Location.of(url).scrub(said)
        assert SECRET not in scrubbed
        assert "AKIA" not in scrubbed

    def test_parameters_of_the_path_are_redacted_in_any_text(self):
        location = Location.of(f"https://h/a.mrc\n;key={SECRET}")
        assert location.scrub(f"no file a.mrc\n;key={SECRET}") == "no file a.mrc\n;key=***"

    def test_ordinary_words_are_not_redacted(self):
        location = Location.of("https://h/a.mrc?v=1&q=no", {"key": "a", "secret": SECRET})
        text = "no answer after 11 s from https://h/a.mrc"
        assert location.scrub(text) == text

    @given(st.text(min_size=4, max_size=30), st.text(max_size=30), st.text(max_size=30))
    def test_any_secret_is_redacted_in_any_text(self, secret, before, after):
        location = Location.of("s3://bucket/a.mrc", {"secret": secret})
        assert secret not in location.scrub(f"{before}{secret}{after}").replace("***", "\0")
        assert secret not in repr(location).replace("bucket/a.mrc", "")

    def test_errors_of_a_filesystem_are_redacted(self):
        class Leaking(MemoryFileSystem):
            protocol = "leaking"

            def info(self, path, **options):
                raise ValueError(f"cannot log in with {SECRET}")

        fsspec.register_implementation("leaking", Leaking, clobber=True)
        with pytest.raises(mrcdist.ReadError, match=r"cannot log in with \*\*\*") as raised:
            mrcdist.read_mrc("leaking://a.mrc", storage_options={"password": SECRET})
        assert SECRET not in str(raised.value)
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__

    def test_plans_and_arrays_contain_no_secret_in_their_repr(self):
        fs = fsspec.filesystem("memory")
        fs.pipe_file("memory://shown/a.mrc", mrc_bytes(counting((6, 4, 5), "uint16")))
        plan = mrcdist.plan_mrc("memory://shown/a.mrc", storage_options={"secret": SECRET})
        array = plan.to_dask()
        shown = [repr(plan), str(plan), str(plan.explain()), repr(plan.explain()), repr(array)]
        shown += [array._repr_html_(), repr(array.dask), array.dask._repr_html_(), array.name]
        shown += [repr(item) for item in dict(array.dask).items()]
        assert SECRET not in "".join(shown)
        assert SECRET in str(pickle.dumps(plan.source))  # a worker needs it to read


class TestIdentity:
    """The identity, used for tokens, says where a file is, and contains no credentials."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("zip://a.mrc", {"fo": "/1.zip"}), ("zip://a.mrc", {"fo": "/2.zip"})),
            (("zip://a.mrc", {"fo": Path("/1.zip")}), ("zip://a.mrc", {"fo": Path("/2.zip")})),
            (("ftp:///a.mrc", {"host": "one"}), ("ftp:///a.mrc", {"host": "two"})),
            (("s3://b/a", {"endpoint_url": "http://one"}), ("s3://b/a", {})),
            (
                ("s3://b/a", {"client_kwargs": {"endpoint_url": "http://one"}}),
                ("s3://b/a", {"client_kwargs": {"endpoint_url": "http://two"}}),
            ),
            (
                ("zip://a::s3://b/z", {"s3": {"endpoint_url": "http://one"}}),
                ("zip://a::s3://b/z", {"s3": {"endpoint_url": "http://two"}}),
            ),
            (("https://h/a?file=1", {}), ("https://h/a?file=2", {})),
            (("https://h/a?key=1.mrc", {}), ("https://h/a?key=2.mrc", {})),
            (("s3://b/a?versionId=1", {}), ("s3://b/a?versionId=2", {})),
            (("s3://b/why?/a#1", {}), ("s3://b/why?/a#2", {})),
            (("abfs://box1@account/a", {}), ("abfs://box2@account/a", {})),
            pytest.param(
                ("dir://a", {"fs": fsspec.filesystem("dir", path="/1", target_protocol="file")}),
                ("dir://a", {"fs": fsspec.filesystem("dir", path="/2", target_protocol="file")}),
                id="two folders",
            ),
        ],
        ids=str,
    )
    def test_two_files_have_different_identities(self, one, other):
        assert Location.of(*one).identity != Location.of(*other).identity

    @pytest.mark.parametrize(
        ("url", "options"),
        [
            ("s3://b/a", {"key": "k", "secret": SECRET}),
            ("s3://b/a", {"anon": True}),
            ("s3://b/a", {"token": SECRET, "key": SECRET, "secret": SECRET}),
            ("https://h/a", {"headers": {"Authorization": f"Bearer {SECRET}"}}),
            ("https://h/a", {"headers": [("X-Api-Key", SECRET)]}),
            (f"https://user:{SECRET}@h/a", {}),
            (f"https://h/a?X-Amz-Signature={SECRET}&X-Amz-Date=2024", {}),
            (f"https://h/a?sig={SECRET}", {}),
            (f"https://h/a#{SECRET}", {}),
            ("zip://a", {"fo": f"https://user:{SECRET}@h/z?token={SECRET}"}),
        ],
        ids=str,
    )
    def test_identity_contains_no_credentials(self, url, options):
        identity = Location.of(url, options).identity
        assert SECRET not in identity
        changed = str((url, options)).replace(SECRET, "another one")
        assert Location.of(*eval(changed)).identity == identity

    def test_two_archives_give_two_arrays(self, tmp_path):
        numbers = counting((6, 4, 5), "uint16")
        arrays = []
        for name, content in (("one", numbers), ("two", numbers[:, ::-1])):
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("a.mrc", mrc_bytes(content))
            [ds] = mrcdist.read_mrc("zip://a.mrc", storage_options={"fo": str(tmp_path / name)})
            arrays.append(ds["data"])
        one, two = dask.compute(*arrays)
        np.testing.assert_array_equal(one, numbers)
        np.testing.assert_array_equal(two, numbers[:, ::-1])


@pytest.mark.parametrize("pool", ["32", 2.5, -1])
def test_invalid_size_of_the_connection_pool_is_refused(pool):
    options = {"config_kwargs": {"max_pool_connections": pool}}
    with pytest.raises(ArgumentError, match="max_pool_connections"):
        Location.of("s3://bucket/a.mrc", options).filesystem()


class TestListing:
    def test_listing_has_all_names_in_the_folder(self, tmp_path):
        for name in ("a_movie.mrc", "a_info.txt", "b c.txt"):
            (tmp_path / name).touch()
        listing = Location.of(tmp_path / "a_movie.mrc").list_siblings()
        assert listing is not None
        assert set(listing) == {"a_movie.mrc", "a_info.txt", "b c.txt"}

    def test_listing_of_a_missing_folder_is_none(self, tmp_path):
        assert Location.of(tmp_path / "none" / "a.mrc").list_siblings() is None

    def test_listing_without_the_file_itself_is_none(self, memory_file):
        class Page(MemoryFileSystem):
            protocol = "page"

            def ls(self, path, detail=True, **options):
                return [{"name": "page://x/contact.html", "type": "file"}]

        fsspec.register_implementation("page", Page, clobber=True)
        url = memory_file(b"", "a.mrc").replace("memory:", "page:")
        assert Location.of(url).list_siblings() is None

    def test_listings_cached_by_a_filesystem_are_not_used(self):
        class Forgetful(MemoryFileSystem):
            protocol = "listed"
            cachable = True

            def invalidate_cache(self, path=None):
                self.dircache.clear()

            def info(self, path, **options):
                path = path.replace("listed:/", "")
                if path not in self.dircache:
                    self.dircache[path] = super().info(path, **options)
                return self.dircache[path]

        fsspec.register_implementation("listed", Forgetful, clobber=True)
        fs = fsspec.filesystem("memory")
        fs.pipe_file("memory://listed/a.mrc", b"1")
        location = Location.of("listed://listed/a.mrc")
        assert location.find_version().size == 1
        fs.pipe_file("memory://listed/a.mrc", b"22")
        assert location.find_version().size == 2


def test_pickled_location_consists_of_url_and_options():
    location = Location.of("s3://bucket/a.mrc", {"secret": SECRET})
    location.filesystem()
    raw = pickle.dumps(location)
    assert len(raw) < 300
    assert pickle.loads(raw) == location
