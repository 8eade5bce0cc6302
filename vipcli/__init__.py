"""Point at part of a picture, ask, and get an answer."""

__version__ = "0.1.0"
