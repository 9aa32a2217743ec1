"""What the library needs of torch beyond its public interface, and what torch does otherwise than one expects; in one place, each with a test.

Must not know the rest of the library.
"""
