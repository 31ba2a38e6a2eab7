"""Text and images for the demo, the benchmarks and the scripts."""

from kgrow.datasets import images, text

__all__ = ["images", "text"]
