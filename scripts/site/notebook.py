"""A Jupyter notebook as Markdown: its text, and its code in blocks. Notebooks are stored without outputs."""

import json


def notebook_page(content: str) -> str:
    """Markdown of a notebook file's content."""
    return "\n\n".join(_cell(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(content)["cells"])


def _cell(kind: str, text: str) -> str:
    return f"```python\n{text}\n```" if kind == "code" else text
