"""Measured tables and figures as Markdown, LaTeX, CSV, images and HTML, results and stores as text for a terminal.

Plain data in, text out; no run is trained or looked for here.
"""
