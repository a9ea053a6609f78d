"""Public data sets, one each: what the raw files are, `read`, and a simulator. Knows ingest/; chosen by configuration."""
