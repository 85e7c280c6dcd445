"""Benchmarks that anyone can repeat.

This module imports nothing, so other contestants get TensorFlow with its default settings.
"""
