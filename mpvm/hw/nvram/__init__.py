"""Memory that keeps its content: what the machine tells firmware and kernels."""
