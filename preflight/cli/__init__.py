"""Everything that prints: the command lines, the notebook's cells, the report as text. No judgement of its own."""
