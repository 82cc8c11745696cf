"""The director's service: takes in experiments, runs their aggregators, and answers notebook and envoys."""
