"""./run_all.sh and its sub-commands."""
