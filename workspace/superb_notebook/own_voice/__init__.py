"""A voice of one's own as an envoy: recorded in the notebook, kept in a folder, started beside the others."""
