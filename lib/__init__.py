"""The library of the kit: what the paper defines, and what a notebook should not have to show."""
