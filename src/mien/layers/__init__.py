"""Blocks that several systems share; one idea per module."""
