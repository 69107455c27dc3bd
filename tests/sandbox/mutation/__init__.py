"""Makes one small fault at a time in a rendered stack, to see that the contract check notices each."""
