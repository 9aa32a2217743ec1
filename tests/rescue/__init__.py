"""The rescue list: where torch's plain double backward raises, and which engine works."""
