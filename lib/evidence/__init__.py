"""What is known from records: scored runs, tables, how they are set, the verdict."""
