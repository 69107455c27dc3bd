"""The contract of the ten images as data, and the rules that read it.

Used by the stand-ins inside their containers and by the checker outside, so that both refuse the same things.
"""
