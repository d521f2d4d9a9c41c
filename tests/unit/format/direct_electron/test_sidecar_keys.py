"""The table of sidecar keys, the only place where they are spelled."""

import ast

import pytest

from mrcdist.format.direct_electron import sidecar_keys as keys
from mrcdist.format.direct_electron.sidecar import parse_sidecar
from mrcdist.format.direct_electron.sidecar_keys import KEYS
from mrcdist.testing.acquisition import write_acquisition
from tests.support.package_code import package_trees

SPELLINGS = [spelling for key in KEYS for spelling in key.spellings]
BEGINNINGS = ("Scan - ", "Autosave ", "Instrument Project ", "Specimen Pixel", "Diffraction Pixel")


def test_no_sidecar_key_is_spelled_outside_the_table():
    spelled = {
        name
        for name, tree in package_trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value in SPELLINGS or node.value.startswith(BEGINNINGS)
    }
    assert spelled == {"format/direct_electron/sidecar_keys.py"}


def test_spellings_of_sidecar_keys_are_unique_and_explained():
    assert len(set(SPELLINGS)) == len(SPELLINGS)
    assert all(key.meaning for key in KEYS)


@pytest.mark.parametrize("spelling", keys.POINT_REPEATS.spellings)
def test_sidecar_value_is_found_under_each_spelling_of_its_key(spelling):
    sidecar = parse_sidecar(f"{spelling} = 3".encode())
    assert sidecar.number(keys.POINT_REPEATS) == 3


def test_spelling_of_a_sidecar_key_depends_on_the_server_version():
    assert keys.POINT_REPEATS.spelled("2.7.2") == "Scan - Point Repeat"
    assert keys.POINT_REPEATS.spelled("2.7.5") == "Scan - Camera Frames Per Point"
    assert keys.SCAN_REPEATS.spelled("2.7.5") == keys.SCAN_REPEATS.name
    assert keys.VIRTUAL_NAME.numbered(2) == "Scan - Virtual Detector 2 Name"


def test_sidecars_for_tests_contain_all_keys_of_the_table(tmp_path):
    written = set()
    for server in ("2.7", "new"):
        sidecar = write_acquisition(tmp_path, server=server).sidecar
        written |= parse_sidecar(sidecar.read_bytes()).values.keys()
    unwritten = {key for key in KEYS if not written & {key.numbered(1), *key.spellings}}
    # Absent from the sidecars of these servers unless points are left out or a scan is repeated.
    assert unwritten == {
        *(keys.POINTS_PER_FRAME, keys.SCAN_SUBSAMPLING, keys.ROI_SUBSAMPLING, keys.TIME_PER_SCAN),
    }
