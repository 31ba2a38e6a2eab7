"""Text and images for the demo, the benchmarks and the scripts."""
