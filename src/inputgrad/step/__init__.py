"""One call of the loss: evaluating base loss and terms on a batch, and the way back to the parameters. Engines and terms meet here and nowhere else."""
