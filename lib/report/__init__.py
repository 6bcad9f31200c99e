"""What people open: index.html, notebooks as pages, the curated reference."""
