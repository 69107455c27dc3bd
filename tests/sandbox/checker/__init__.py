"""Holds a rendered stack against the contract, without an engine."""
