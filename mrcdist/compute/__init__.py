"""Computations on frames: detectors and reductions."""
