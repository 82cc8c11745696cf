"""The data of one envoy: SUPERB keyword spotting, read, split, described and, where there is none, spoken."""
