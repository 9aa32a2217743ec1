"""Less memory for a graph: what cheap operations can make again is not saved. Must not know engines and terms."""
