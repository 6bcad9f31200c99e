"""Results from stored records: scored runs, tables and their typesetting, data for figures, the verdict."""
