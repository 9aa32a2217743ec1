"""How a model is run: forward passes, the replay of random draws and branch decisions, precision, and the input gradient. Must not know engines and terms."""
