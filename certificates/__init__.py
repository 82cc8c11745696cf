"""Certificates of a federation beyond one machine: an authority, and a key and certificate for every node.

``make certs`` runs it. It needs nothing of the other folders, and no service runs on it.
"""
