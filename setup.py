"""For tools that ask for a setup.py. All of the metadata is in pyproject.toml."""

from setuptools import setup

setup()
