"""What runs on every node of the federation: the director's service, the envoy's, and what both share.

Experiments bring their own package, `superb_ks`, in their archive. This one never imports it.
`superb_ks` must never be installed on a node: OpenFL appends an experiment's folder to `sys.path`, so that an
installed copy would win over the one that came with the experiment.
"""
