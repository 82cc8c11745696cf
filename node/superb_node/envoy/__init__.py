"""The envoy's service: describes its shard to the director and takes part in experiments."""
