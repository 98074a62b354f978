"""Small PostgreSQL question/answer rows of the kit's own: a seeded generator and the files it wrote."""
