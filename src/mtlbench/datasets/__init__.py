"""Public data sets, one each: raw files, reader, simulator. Knows ingest/; chosen by configuration."""
