"""What runs on every node of the federation: the director's service, the envoy's, and what both share.

What an experiment does there is in `superb_ks`, installed beside it.
"""
