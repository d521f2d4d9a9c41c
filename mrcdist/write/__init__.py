"""Write MRC files from dask arrays: planned on the client, written by tasks."""
