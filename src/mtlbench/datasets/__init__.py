"""Data sets, a module or package each: raw files, reader, simulator. Imports ingest/; chosen by configuration."""
