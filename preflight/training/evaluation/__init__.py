"""After training: what the run's own log says of the loss, and what base and adapter answer to the test rows."""
