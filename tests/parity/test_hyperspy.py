"""HyperSpy and pyxem, as installed packages, open datasets through mrcdist."""

from __future__ import annotations

import struct
import sys

import dask.array as da
import numpy as np
import pytest

import mrcdist
from mrcdist import MissingExtraError, register_hyperspy
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import STORES, all_frames, sidecar_values, url_of
from tests.support.compiling import pyxem_as_python
from tests.support.mrc_files import counting, mrc_bytes, write_mrc
from tests.support.s3 import SECRET_KEY

hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
hyperspy_io = pytest.importorskip("hyperspy.io")
rsciio = pytest.importorskip("rsciio")

# pyxem uses names that HyperSpy has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::hyperspy.exceptions.VisibleDeprecationWarning")

SCAN = (3, 4)


def require(package):
    """Skip the test if HyperSpy cannot save with the installed version of a package."""
    module = pytest.importorskip(package)
    if package == "zarr" and not hasattr(module.storage, "NestedDirectoryStore"):
        pytest.skip(f"HyperSpy saves zspy with zarr 2, installed is {module.__version__}")


def image(value):
    return value + np.arange(12, dtype="float32").reshape(SCAN)


@pytest.fixture
def written(tmp_path):
    return write_acquisition(
        tmp_path / "acquisition",
        scan_shape=SCAN,
        virtual_images={"BF": image(100), "Virt #1": image(200)},
        external_images={"Ext 1": image(300)},
    )


class TestRegistration:
    def test_importing_mrcdist_registers_no_format(self):
        assert not [plugin for plugin in rsciio.IO_PLUGINS if "mrcdist" in plugin["api"]]

    def test_registering_twice_adds_a_single_format(self, registered):
        register_hyperspy()
        [plugin] = [plugin for plugin in rsciio.IO_PLUGINS if plugin["name"] == "mrcdist"]
        theirs = next(plugin for plugin in rsciio.IO_PLUGINS if plugin["name"] == "MRC")
        assert set(plugin) == set(theirs)
        assert [2, 2] in plugin["writes"]
        assert all(signal == 2 for signal, _ in plugin["writes"])

    def test_hyperspy_uses_its_own_reader_unless_file_format_is_passed(self, written, registered):
        signal = hs.load(written.companions[0])
        [ours] = [plugin for plugin in rsciio.IO_PLUGINS if plugin["name"] == "mrcdist"]
        others = [plugin for plugin in rsciio.IO_PLUGINS if plugin is not ours]
        endings = {ending.lower() for plugin in others for ending in plugin["file_extensions"]}
        assert endings.isdisjoint(ours["file_extensions"])
        assert signal.metadata.General.FileIO.Number_0.io_plugin == "rsciio.mrc"

    def test_list_of_formats_in_hyperspys_help_includes_mrcdist(self, registered):
        assert "mrcdist" in hyperspy_io._get_format_list_for_docstring()

    def test_error_without_rosettasciio_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "rsciio", None)
        with pytest.raises(MissingExtraError, match="RosettaSciIO") as caught:
            register_hyperspy()
        assert '".[hyperspy]"' in caught.value.remedy


class TestArguments:
    """HyperSpy passes on `lazy` and all arguments that it does not know."""

    @pytest.mark.parametrize("lazy", [True, False])
    def test_hyperspy_passes_lazy_and_unknown_arguments_to_the_reader(
        self, written, monkeypatch, lazy
    ):
        calls = []

        class Reader:
            __loader__ = mrcdist.__loader__

            @staticmethod
            def file_reader(filename, **keywords):
                calls.append((filename, keywords))
                return mrcdist.file_reader(filename, **keywords)

        hs.load(
            str(written.movie),
            file_format=Reader,
            lazy=lazy,
            signal_type="",
            convert_units=False,
            chunks=(2, -1, -1),
            metadata_file=None,
        )
        assert calls == [
            (
                str(written.movie),
                {"lazy": lazy, "chunks": (2, -1, -1), "metadata_file": None},
            )
        ]


def load_by_module(path, **options):
    return hs.load(path, file_format=mrcdist, **options)


def load_by_name(path, **options):
    before = list(rsciio.IO_PLUGINS)
    register_hyperspy()
    try:
        return hs.load(path, file_format="mrcdist", **options)
    finally:
        rsciio.IO_PLUGINS[:] = before


def load_by_url(path, **options):
    url = url_of(path, STORES["memory"])
    return hyperspy_io.load_with_reader(url, mrcdist, **options)


@pytest.fixture(params=[load_by_module, load_by_name, load_by_url], ids=lambda load: load.__name__)
def load(request, registered):
    return request.param


class TestScan:
    def test_lazy_scan_is_a_lazy_signal(self, written, load):
        signal = load(written.movie, lazy=True)
        assert type(signal).__name__ == "LazySignal2D"
        assert isinstance(signal.data, da.Array)
        np.testing.assert_array_equal(signal.data.compute(), all_frames(written))

    def test_eager_scan_is_a_signal_with_eager_navigators(self, written, load):
        signal = load(written.movie)
        assert type(signal).__name__ == "Signal2D"
        assert isinstance(signal.data, np.ndarray)
        np.testing.assert_array_equal(signal.data, all_frames(written))
        for name, navigator in signal.metadata._HyperSpy.navigators:
            assert isinstance(navigator.data, np.ndarray), name

    def test_axes_of_a_scan_are_set_in_the_axes_manager(self, written, load):
        manager = load(written.movie, lazy=True).axes_manager
        assert manager.navigation_shape == SCAN[::-1]
        assert manager.signal_shape == written.frame_shape[::-1]
        sidecar = sidecar_values(written)
        for axes, names, key, units in (
            (manager.navigation_axes, "xy", "Specimen Pixel Size {} (nanometers)", "nm"),
            (manager.signal_axes, ("kx", "ky"), "Diffraction Pixel Size {}", "nm^-1"),
        ):
            for axis, name, letter in zip(axes, names, "XY", strict=True):
                assert (axis.name, axis.units, axis.offset) == (name, units, 0)
                assert axis.scale == float(sidecar[key.format(letter)])

    def test_metadata_of_a_scan_are_in_the_tree_of_hyperspy(self, written, load):
        metadata = load(written.movie, lazy=True).metadata
        tem = metadata.Acquisition_instrument.TEM
        assert (tem.beam_energy, tem.camera_length, tem.magnification) == (200.0, 200.0, 80000.0)
        assert tem.acquisition_mode == "STEM"
        assert metadata.General.title == "20260101_00001_movie"
        assert metadata.General.original_filename == "20260101_00001_movie.mrc"
        assert (metadata.General.date, metadata.General.time_zone) == ("2026-01-01", "UTC")
        assert metadata.Signal.signal_type == ""
        gain = "Signal.Noise_properties.Variance_linear_model.gain_factor"
        assert metadata.get_item(gain) == 51.0

    def test_sidecar_is_in_original_metadata(self, written, load):
        original = load(written.movie, lazy=True).original_metadata
        assert original.de_metadata.as_dictionary() == sidecar_values(written)
        assert original.std_header["NX"] == 16

    def test_images_are_available_as_navigator_signals(self, written, load):
        signal = load(written.movie, lazy=True)
        navigators = dict(signal.metadata._HyperSpy.navigators.as_dictionary())
        assert list(navigators) == ["_sig_BF", "_sig_Virt 1", "_sig_Ext 1"]
        for name, value in (("BF", 100), ("Virt 1", 200), ("Ext 1", 300)):
            navigator = signal.metadata._HyperSpy.navigators[name]
            assert isinstance(navigator, hs.signals.Signal2D)
            assert navigator.axes_manager.signal_shape == SCAN[::-1]
            np.testing.assert_array_equal(np.asarray(navigator.data), image(value))
        assert signal.navigator.metadata.General.title == "BF"
        assert signal.navigator.axes_manager.signal_axes[0].scale == 0.4

    def test_navigator_can_be_plotted(self, written, load):
        pytest.importorskip("matplotlib").use("agg")
        signal = load(written.movie, lazy=True)
        signal.plot(navigator=signal.navigator)
        plotted = signal._plot.navigator_plot._current_data
        np.testing.assert_array_equal(np.asarray(plotted), image(100))
        signal._plot.close()

    @pytest.mark.parametrize("lazy", [True, False])
    @pytest.mark.filterwarnings(
        "ignore:.*its own axes are kept"
    )  # the image has the shape of the scan
    def test_arguments_of_mrcdist_are_passed_through_hyperspy(self, written, load, lazy):
        signal = load(written.movie, lazy=lazy, navigation_shape=(6, 2), virtual_images=None)
        assert signal.axes_manager.navigation_shape == (6, 2)
        assert len(signal.metadata._HyperSpy.navigators.as_dictionary()) == 1

    def test_metadata_file_none_disables_the_sidecar_in_hyperspy(self, written, load):
        signal = load(written.movie, lazy=True, metadata_file=None)
        assert signal.axes_manager.navigation_shape == (12,)


class TestSaving:
    @pytest.mark.parametrize("lazy", [True, False])
    @pytest.mark.parametrize(("ending", "package"), [("zspy", "zarr"), ("hspy", "h5py")])
    @pytest.mark.filterwarnings("ignore::FutureWarning")  # from zarr 2, about zarr 3
    def test_signal_saved_by_hyperspy_is_loaded_unchanged(
        self, tmp_path, written, load, lazy, ending, package
    ):
        require(package)
        signal = load(written.movie, lazy=lazy)
        saved = tmp_path / f"saved.{ending}"
        signal.save(saved)
        reloaded = hs.load(saved)
        np.testing.assert_array_equal(reloaded.data, all_frames(written))
        assert str(reloaded.axes_manager) == str(signal.axes_manager)
        for name, value in (("BF", 100), ("Virt 1", 200), ("Ext 1", 300)):
            navigator = reloaded.metadata._HyperSpy.navigators[name]
            np.testing.assert_array_equal(np.asarray(navigator.data), image(value))
        np.testing.assert_array_equal(np.asarray(reloaded.navigator.data), image(100))
        tem = "Acquisition_instrument.TEM"
        assert (
            reloaded.metadata.get_item(tem).as_dictionary()
            == signal.metadata.get_item(tem).as_dictionary()
        )
        assert (
            reloaded.original_metadata.as_dictionary() == signal.original_metadata.as_dictionary()
        )

    @pytest.mark.parametrize(("ending", "package"), [("zspy", "zarr"), ("hspy", "h5py")])
    @pytest.mark.filterwarnings("ignore::FutureWarning")  # from zarr 2, about zarr 3
    def test_header_is_kept_in_a_copy_of_a_saved_signal(
        self, tmp_path, registered, ending, package
    ):
        """HyperSpy's HDF5 files return metadata as numbers of numpy."""
        require(package)
        cell = {"start": (5, -2, 7), "cell": (12.0, 8.0, 6.0), "ispg": 19}
        raw = bytearray(mrc_bytes(counting((3, 4, 6), "int16"), **cell))
        struct.pack_into("<3f", raw, 52, 80.0, 95.5, 120.0)
        path, saved = tmp_path / "read.mrc", tmp_path / f"saved.{ending}"
        path.write_bytes(raw)
        hs.load(path, file_format="mrcdist").save(saved)
        mrcdist.write_mrc(tmp_path / "copy.mrc", hs.load(saved))
        copy = (tmp_path / "copy.mrc").read_bytes()
        assert copy[16:76] == raw[16:76]  # start, intervals, cell, angles, order of axes
        assert copy[88:92] == raw[88:92]  # ISPG


class TestTiltSeries:
    ANGLES = (-60.0, -40.5, 0.0, 3.0, 61.0)

    @pytest.fixture
    def series(self, tmp_path):
        (tmp_path / "series.tlt").write_text("\n".join(map(str, self.ANGLES)))
        return write_mrc(tmp_path / "series.mrc", counting((5, 3, 4), "int16"))

    @pytest.mark.parametrize("lazy", [True, False])
    def test_unevenly_spaced_tilt_angles_are_a_nonuniform_axis(self, series, registered, lazy):
        signal = hs.load(
            series, file_format="mrcdist", lazy=lazy, tilt_file=series.with_suffix(".tlt")
        )
        [axis] = signal.axes_manager.navigation_axes
        assert not axis.is_uniform
        assert (axis.name, axis.units, axis.size) == ("tilt", "deg", 5)
        np.testing.assert_array_equal(axis.axis, self.ANGLES)
        np.testing.assert_array_equal(np.asarray(signal.data), counting((5, 3, 4), "int16"))
        np.testing.assert_array_equal(
            np.asarray(signal.inav[3.0].data), counting((5, 3, 4), "int16")[3]
        )

    @pytest.mark.parametrize(("ending", "package"), [("zspy", "zarr"), ("hspy", "h5py")])
    @pytest.mark.filterwarnings("ignore::FutureWarning")
    def test_tilt_series_with_a_nonuniform_axis_can_be_saved(
        self, tmp_path, series, registered, ending, package
    ):
        require(package)
        signal = hs.load(
            series, file_format="mrcdist", lazy=True, tilt_file=series.with_suffix(".tlt")
        )
        signal.save(tmp_path / f"saved.{ending}")
        reloaded = hs.load(tmp_path / f"saved.{ending}")
        np.testing.assert_array_equal(reloaded.axes_manager[0].axis, self.ANGLES)

    @pytest.mark.parametrize("lazy", [True, False])
    @pytest.mark.parametrize(
        "angles",
        [(0, 3, -3, 6, -6), (0, 3, 6, -3, -6), (-3, -3, 0, 0, 3)],
        ids=["dose-symmetric", "bidirectional", "montage"],
    )
    def test_tilt_angles_that_are_not_monotonic_are_only_in_the_metadata(
        self, series, registered, lazy, angles
    ):
        series.with_suffix(".tlt").write_text("\n".join(map(str, angles)))
        signal = hs.load(series, file_format="mrcdist", lazy=lazy)
        [axis] = signal.axes_manager.navigation_axes
        assert (axis.name, axis.size, axis.scale, axis.offset) == ("tilt", 5, 1.0, 0.0)
        assert axis.is_uniform
        assert signal.metadata.Acquisition_instrument.TEM.Stage.tilt_alpha == list(angles)
        assert list(signal.original_metadata.tilt_series.tilt_angle) == list(angles)
        np.testing.assert_array_equal(np.asarray(signal.data), counting((5, 3, 4), "int16"))

    def test_sort_by_tilt_gives_a_uniform_axis(self, series, registered):
        series.with_suffix(".tlt").write_text("0\n3\n-3\n6\n-6\n")
        signal = hs.load(series, file_format="mrcdist", lazy=True, sort_by_tilt=True)
        [axis] = signal.axes_manager.navigation_axes
        assert (axis.scale, axis.offset, axis.units) == (3.0, -6.0, "deg")
        np.testing.assert_array_equal(
            np.asarray(signal.inav[-6.0].data), counting((5, 3, 4), "int16")[4]
        )

    def test_evenly_spaced_tilt_angles_are_a_uniform_axis(self, tmp_path, series, registered):
        (tmp_path / "even.tlt").write_text("-4\n-2\n0\n2\n4\n")
        signal = hs.load(series, file_format="mrcdist", tilt_file=tmp_path / "even.tlt")
        [axis] = signal.axes_manager.navigation_axes
        assert axis.is_uniform
        assert (axis.scale, axis.offset, axis.units) == (2.0, -4.0, "deg")


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("shape", "kind", "navigation"),
        [((1, 4, 5), "Signal2D", ()), ((6, 4, 5), "Signal2D", (6,))],
    )
    def test_images_and_stacks_become_signals_of_their_dimension(
        self, tmp_path, registered, shape, kind, navigation
    ):
        path = write_mrc(tmp_path / "any.mrc", counting(shape, "float32"), cell=(50, 40, 30))
        signal = hs.load(path, file_format="mrcdist")
        assert type(signal).__name__ == kind
        assert signal.axes_manager.navigation_shape == navigation
        assert [axis.units for axis in signal.axes_manager.signal_axes] == ["nm", "nm"]

    def test_complex_numbers_become_a_complex_signal(self, tmp_path, registered):
        path = write_mrc(tmp_path / "any.mrc", counting((2, 4, 5), "complex64"))
        signal = hs.load(path, file_format="mrcdist", lazy=True)
        assert type(signal).__name__ == "LazyComplexSignal2D"

    def test_uncalibrated_axes_have_undefined_units(self, tmp_path, registered):
        path = write_mrc(tmp_path / "any.mrc", counting((2, 4, 5), "int16"))
        for axis in hs.load(path, file_format="mrcdist").axes_manager._axes:
            assert (axis.scale, str(axis.units)) == (1.0, "<undefined>")

    def test_numbered_parts_become_one_signal(self, tmp_path, registered):
        written = write_acquisition(tmp_path, scan_shape=(4, 6), parts=3)
        signal = hs.load(written.movie, file_format="mrcdist", lazy=True)
        np.testing.assert_array_equal(signal.data.compute(), all_frames(written))

    def test_acquisition_in_an_object_store_is_loaded(self, tmp_path, moto):
        written = write_acquisition(tmp_path, scan_shape=SCAN, virtual_images={"BF": image(1)})
        with moto.bucket() as bucket:
            for path in written.files:
                bucket.put(path.name, path.read_bytes())
            signal = hyperspy_io.load_with_reader(
                bucket.url(written.movie.name),
                mrcdist,
                lazy=True,
                storage_options=bucket.storage_options(),
            )
            np.testing.assert_array_equal(signal.data.compute(), all_frames(written))
        np.testing.assert_array_equal(np.asarray(signal.navigator.data), image(1))
        assert SECRET_KEY not in str(signal.metadata) + str(signal.original_metadata)

    def test_acquisition_of_a_real_microscope_is_loaded(self, real_data, registered):
        signal = hs.load(real_data / "20241021_00405_movie.mrc", file_format="mrcdist", lazy=True)
        assert signal.axes_manager.shape == (8, 4, 8, 4)
        navigators = signal.metadata._HyperSpy.navigators
        assert sorted(name for name, _ in navigators) == ["Ext_1", "Virt_0", "Virt_1"]


class TestPyxem:
    @pytest.fixture(autouse=True)
    def _pyxem(self, tmp_path):
        pytest.importorskip("numba", reason="numba is not installed")
        with pyxem_as_python(tmp_path):
            pytest.importorskip("pyxem", reason="pyxem is not installed")
            yield

    @pytest.fixture(params=[True, False], ids=["lazy", "eager"])
    def diffraction(self, request, written, registered):
        return hs.load(
            written.movie,
            file_format="mrcdist",
            lazy=request.param,
            signal_type="electron_diffraction",
        )

    def test_scan_is_loaded_as_a_diffraction_signal_of_pyxem(self, diffraction, written):
        lazy = "Lazy" if diffraction._lazy else ""
        assert type(diffraction).__name__ == f"{lazy}ElectronDiffraction2D"
        np.testing.assert_array_equal(np.asarray(diffraction.data), all_frames(written))

    def test_loaded_scan_can_be_converted_to_a_diffraction_signal_of_pyxem(
        self, written, registered
    ):
        signal = hs.load(written.movie, file_format="mrcdist", lazy=True)
        signal.set_signal_type("electron_diffraction")
        assert type(signal).__name__ == "LazyElectronDiffraction2D"

    def test_pyxem_finds_the_beam_energy(self, diffraction):
        assert diffraction.calibration.beam_energy == 200.0
        assert diffraction.beam_energy == 200.0

    def test_pyxem_converts_the_units_of_the_calibration(self, diffraction):
        calibration = diffraction.calibration
        assert calibration.units == ["nm^-1", "nm^-1"]
        calibration.beam_energy = calibration.beam_energy  # sets the wavelength
        calibration.convert_signal_units("A^-1")
        np.testing.assert_allclose(calibration.scale, [0.008, 0.01])
        assert calibration.units == [r"$\AA^{-1}$", r"$\AA^{-1}$"]

    def test_pyxem_integrates_azimuthally_in_units_of_the_calibration(self, diffraction):
        diffraction.calibration.center = None
        radial = diffraction.get_azimuthal_integral1d(npt=4, inplace=False, mean=True)
        assert radial.axes_manager.signal_axes[0].units == "nm^-1"
        assert np.isfinite(np.asarray(radial.data)).all()
