"""Bytes and text to dataclasses. Pure: opens nothing, knows no dask."""
