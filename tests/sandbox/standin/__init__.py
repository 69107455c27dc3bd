"""Stand-ins for the images that cannot be had without a registry.

Each one refuses to start when its contract (../contract) is not met, uses the credentials it was given against the
real database, and answers the probes as the real service does. See ../README.md.
"""
