"""What the run takes: steps, memory, hours, compute units, money. It writes nothing."""
