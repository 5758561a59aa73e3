"""An independent implementation of the Copr build system's backend."""

__version__ = "0.1.0"
