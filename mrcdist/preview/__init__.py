"""Look at a file by reading a small, stated part of it: pictures, a browser.

What to read is decided from numbers alone: `views`, `choose` with `choose_scan` and
`choose_volume`, in `pieces` of the file. What came becomes images and words without more reading:
`panels`, `contrast`, `summary`. `reading` reads, `looking` does all of it in order,
`figure`, `drawing` and `canvas` draw. `browser` is the interactive one, over the frames of
`browsing`.
"""
