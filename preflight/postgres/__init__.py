"""PostgreSQL as the judge of SQL: a server that is simply there, schemas read from prompts, and what answers do on them. Nothing of rows' shapes, findings or models."""
