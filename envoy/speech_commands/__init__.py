"""The data of one envoy: SUPERB keyword spotting clips, read or synthesised, and divided into shards."""
