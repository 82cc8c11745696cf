"""Runs the whole tutorial from one command: a director, its envoys and the notebook.

The package knows the other folders by their files and command lines only, as a person does who reads
the README: it starts `director/start_director.sh` and `envoy/start_envoy.sh` and executes the notebook.
"""
