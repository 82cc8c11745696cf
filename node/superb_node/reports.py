"""Codes and headers by which envoys, director and notebook say what OpenFL's messages have no field for."""

from __future__ import annotations

# Error codes of an envoy's report to the director; 0 is a user's wish to stop an experiment.
STOP = 0
TASK_RAISED = 1
LEFT = 2
"""The envoy's owner stopped it, or its link broke: the others go on."""
DECLINED = 3
"""The envoy's owner does not let the experiment run there."""
WAITS = 4
"""The experiment waits for the approval of the envoy's owner."""

AUTHOR_HEADER = "experiment-author-bin"
"""With this header of an experiment the director tells its envoys who submitted it."""
HOME_HEADER = "envoy_home"
"""With this header an envoy tells in which folder of which machine it runs."""
AGGREGATOR_PORT_HEADER = "aggregator-port"
"""With this header of a submission the notebook tells which port the director opens, and the director its
envoys."""
ID_HEADER = "experiment-id"
"""With this header the director tells its envoys which submission is meant; the aggregator asks for it."""
MODEL_SIZE_HEADER = "model-size"
"""With this header of an experiment the director tells its envoys how many values its model has."""
QUEUED = "queued"
"""Task of a record by which the director tells those who watch an experiment behind which others it waits;
empty once it does not. It is not kept with the experiment's own records."""
STILL_RUNS_HEADER = "still-runs"
"""With this header an envoy asks whether an experiment still has work for it, instead of waiting for one."""
