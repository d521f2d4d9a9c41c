"""Bytes and text to dataclasses. Pure: opens nothing, and does not use dask."""
