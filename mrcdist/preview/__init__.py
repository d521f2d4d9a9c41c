"""Look at a file by reading a small, stated part of it: pictures, a browser.

What to read is decided from numbers alone: `sample` has the views and the limits, `choose_sample`
chooses within them. `reading` reads it, `panels` makes images of it, `figure` draws them with words
beside. `preview` does all of it in order. `browser` is the interactive one, over the frames of
`scan_data`.
"""
