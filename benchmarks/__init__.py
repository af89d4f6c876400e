"""What is measured, and against whom (docs/benchmarks.md)."""
