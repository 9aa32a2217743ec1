"""Everything the library uses of torch beyond its public interface, one module for each subject; other rooms use no private part of torch.

Each function says in which releases its part was read, and what happens where a release lacks it: a fallback, or `MissingInternalError`. For each function
``tests/internals`` has a canary, a test that fails when torch changes the part. Also here: what torch does otherwise than one expects (`draws`), and the
messages of torch that are recognised (`messages`). Must not know the rest of the library, except its errors.
"""
