"""Renders measured tables and figures as Markdown, LaTeX, CSV, images and HTML, results and stores as terminal text.

Plain data in, text out; runs are neither trained nor searched for here.
"""
