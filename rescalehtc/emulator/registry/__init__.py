"""The container registry: images that were pushed, kept by digest as they came."""
