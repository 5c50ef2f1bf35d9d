"""Version of biml, from which the package's metadata are made."""

__version__ = "0.1.0"
