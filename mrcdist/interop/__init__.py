"""Data and metadata in the formats of other libraries: RosettaSciIO, HyperSpy, Zarr, xarray."""
