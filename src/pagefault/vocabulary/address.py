"""
Addresses are plain integers, always unsigned: a linear (virtual) address is 0 .. 2**64 - 1, a physical one is below
2**52. Parameters say which: `address` is linear, `physical` is physical, `frame` is a physical page's first byte.
"""

PAGE_SHIFT = 12
PAGE = 1 << PAGE_SHIFT
PAGE_MASK = ~(PAGE - 1)
