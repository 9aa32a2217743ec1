"""Which side each ReLU-like unit takes and which element each max-pool chooses: recorded at the input, replayed at displaced inputs."""
