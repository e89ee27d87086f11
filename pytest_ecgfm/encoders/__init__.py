"""Encoders: what turns records into embeddings."""
