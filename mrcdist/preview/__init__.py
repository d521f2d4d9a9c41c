"""Previews of a file from a small sample of its data: an overview image, an interactive browser.

The sample is chosen from numbers alone: `sample` defines views, samples and limits, `choose_sample`
chooses within the limits. `reading` reads the sample, `panels` turns it into images, and
`overview_page` arranges these with text on one page. `preview` runs the steps in order. `browser`
is interactive and shows the frames of `scan_data`.
"""
