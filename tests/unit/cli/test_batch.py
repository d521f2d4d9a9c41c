"""Commands that compute results: checks of their options."""

from __future__ import annotations

import pytest

from mrcdist.cli.batch import mean, reduce
from mrcdist.errors import ArgumentError


@pytest.mark.parametrize("name", ["--virtual=mean=bf", "--virtual=m/n=bf", "--virtual=bf"])
def test_errors_about_names_of_results_have_the_argument(name: str) -> None:
    words = ["a.mrc", "--mean", name, "--out", "{}.npy"]
    with pytest.raises(ArgumentError) as error:
        reduce.main(words, standalone_mode=False)
    assert (error.value.code, error.value.argument) == ("result-name-invalid", "virtuals")


def test_conflicting_cluster_options_are_refused_before_the_file_is_opened() -> None:
    words = ["missing.mrc", "--out", "a.npy", "--scheduler=tcp://a:1", "--workers=2"]
    with pytest.raises(ArgumentError) as error:
        mean.main(words, standalone_mode=False)
    assert error.value.code == "cluster-options-conflict"
