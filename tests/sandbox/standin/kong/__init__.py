"""The gateway: interprets kong.yml as Kong 2.8 does, for the plugins that a stack uses."""
