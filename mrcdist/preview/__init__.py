"""Look at a file by reading a small, stated part of it: pictures, a browser.

What to read is decided from numbers alone: `view`, then `choose_sample` with `sample_scan`, within
the limits of `sample`. `reading` reads it; `panels` and `summary` make images and words of it;
`figure` draws them. `preview` does all of it in order. `browser` is the interactive one, on an
`interactive_figure`, over the frames of `scan_data`.
"""
