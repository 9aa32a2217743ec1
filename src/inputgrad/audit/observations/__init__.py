"""What a watched run has shown, as plain records: gradients that were taken, what became of them, steps, layers, events. No verdict, and no probe."""
