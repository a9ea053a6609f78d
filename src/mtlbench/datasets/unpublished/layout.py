"""What is known of the users and the items of data that were never published: fields and how many values each has."""

PROFILE = {"segment": 20, "city": 300, "age": 8}
"""Of a user."""

OFFER = {"category": 20, "owner": 100}
"""Of an item."""
