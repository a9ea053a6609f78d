"""Measured tables and figures as Markdown, LaTeX, CSV, images and HTML: plain data in, text out. Knows no run."""
